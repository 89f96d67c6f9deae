"""Approvals: who may give them, what they hold for, and how meddling with them is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from components.core.errors import BadInput
from components.registry.approval.approvers import approve, list_approvers
from components.registry.approval.policy import (
    CHAMPION_NAMESPACE,
    POLICY_EVENT,
    POLICY_NAMESPACE,
    policy_in_force,
    read_policy,
    sha256_text,
)
from components.registry.approval.statement import (
    ApprovalStatement,
    SignedApproval,
    policy_subject,
    promotion_subject,
    state,
    verify_approvals,
)
from components.registry.audit.audit import audit
from components.registry.ledger import GENESIS, Entry, Ledger, read_ledger
from components.registry.names import RegisteredModel
from components.registry.promote import promote, rollback
from components.registry.publish import publish_run
from components.registry.tracking.store import connect_to
from pipelines import cli
from tests.registry.fabricated_run import fabricate
from tests.registry.shop import Shop
from tests.registry.ssh import Approver, needs_ssh_keygen, new_key, verified_by_ssh_keygen

ALICE, BOB, EVE = (Approver(name) for name in ("alice@hospital", "bob@hospital", "eve@elsewhere"))
ECDSA = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    .decode()
)
LATER = timedelta(hours=1)


def policy(*lines: str, approvals: int = 2, automatic: bool = True) -> str:
    listed = "".join(f"  {line}\n" for line in lines)
    return (
        f"approvals: {approvals}\nautomatic: {str(automatic).lower()}\nallowed_signers: |\n{listed}"
    )


BOTH = policy(ALICE.line(), BOB.line('namespaces="glioflow:*"'))


def in_memory(text: str) -> Ledger:
    """Two registrations, the second of which is champion, and a policy in force."""
    at = datetime.now(UTC).isoformat()
    entries: list[Entry] = []
    for version in ("1", "2"):
        details = {"release": f"r{version}", "versions": {"glioma-idh": {"version": version}}}
        previous = entries[-1].hash if entries else GENESIS
        aliases = {"glioma-idh": {"champion": version}}
        entries.append(Entry(int(version), previous, at, "registered", "x", aliases, details))
    listed = {"policy": text, "sha256": sha256_text(text), "approvals": []}
    entries.append(Entry(3, entries[-1].hash, at, POLICY_EVENT, "x", aliases, listed))
    return Ledger(tuple(entries))


def verified(ledger: Ledger, approvals: list[SignedApproval]) -> tuple[ApprovalStatement, ...]:
    """What the approvals of the first release state, verified now."""
    force = policy_in_force(ledger.entries)
    subject = promotion_subject(ledger.entries, ledger.entries[0])
    assert force is not None
    return verify_approvals(approvals, force, subject, datetime.now(UTC))


def ledger_of(uri: str) -> Ledger:
    return read_ledger(connect_to(uri))


def signed(
    ledger: Ledger, person: Approver, version: str = "1", wait: timedelta = timedelta()
) -> SignedApproval:
    """A person's approval of a release, made as `approve` does."""
    registration = ledger.registration(RegisteredModel.RELEASE, version)
    assert registration is not None
    subject = promotion_subject(ledger.entries, registration)
    said = state(person.name, "read the report", subject)
    text = said.model_copy(update={"at": said.at + wait}).text()
    return SignedApproval(text, person.sign(text, subject.namespace))


@pytest.fixture
def listed(tampered: Callable[[], Shop], tmp_path: Path) -> Callable[[str], Shop]:
    """A shop of two releases, the second of which is champion, with a policy in force."""

    def make(text: str = BOTH) -> Shop:
        shop = tampered()
        (tmp_path / "approvers.yaml").write_text(text)
        list_approvers(tmp_path / "approvers.yaml", shop.uri)
        return shop

    return make


def test_without_a_list_a_typed_name_promotes_and_nobody_vouches(
    tampered: Callable[[], Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = tampered()
    command = ["promote", "glioma-idh/1", "--approve", "Ada: read it", "--tracking-uri", shop.uri]
    assert cli.run(command) == 0
    assert "nobody vouched" in capsys.readouterr().err
    entry = ledger_of(shop.uri).entries[-1]
    assert entry.details["approval"] == {"name": "Ada", "reason": "read it", "vouched": False}
    report = audit("glioma-idh/1", shop.uri)
    assert report.ok
    assert sum("nobody vouched" in check.what for check in report.checks) == 2
    with pytest.raises(BadInput, match="no approvers are listed"):
        promote("glioma-idh/2", shop.uri, approvals=[signed(ledger_of(shop.uri), ALICE, "2")])


def test_where_a_list_is_a_typed_name_moves_nothing(
    listed: Callable[[], Shop], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = listed()
    before = ledger_of(shop.uri).head
    command = ["promote", "glioma-idh/1", "--approve", "Ada: read it", "--tracking-uri", shop.uri]
    assert cli.run(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a typed name moves no champion" in line
    assert ledger_of(shop.uri).head == before


def test_enough_people_promote_and_audit_verifies_them(
    listed: Callable[[], Shop], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, command = listed(), ["promote", "glioma-idh/1"]
    for person in (ALICE, BOB):
        signed(ledger_of(shop.uri), person).write(tmp_path / f"{person.name}.json")
        command += ["--approval", str(tmp_path / f"{person.name}.json")]
    assert cli.run([*command, "--tracking-uri", shop.uri]) == 0
    assert "nobody" not in capsys.readouterr().err
    ledger, file = ledger_of(shop.uri), tmp_path / "approvers.yaml"
    assert ledger.champion == "1"
    assert ledger.entries[-1].details["approvers"] == hashlib.sha256(file.read_bytes()).hexdigest()
    report = audit("glioma-idh@champion", shop.uri, approvers=file)
    assert report.ok, [check for check in report.checks if not check.ok]
    said = [check.what for check in report.checks if "signed by alice@hospital" in check.what]
    assert said and "bob@hospital (read the report)" in said[0]
    (tmp_path / "others.yaml").write_text(policy(EVE.line(), approvals=1))
    other = audit("glioma-idh@champion", shop.uri, approvers=tmp_path / "others.yaml")
    (wrong,) = (check.what for check in other.checks if not check.ok)
    assert wrong.startswith("approvals: the approvers in force are those of")


def _one(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE)]


def _twice(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), signed(ledger, ALICE, wait=timedelta(seconds=-1))]


def _foreign(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), signed(ledger, EVE)]


def _in_anothers_name(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), signed(ledger, Approver(BOB.name, ALICE.key))]


def _altered(ledger: Ledger) -> list[SignedApproval]:
    good = signed(ledger, BOB)
    text = good.statement.replace("read the report", "read nothing")
    return [signed(ledger, ALICE), SignedApproval(text, good.signature)]


def _other_release(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), signed(ledger, BOB, "2")]


def _early(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), signed(ledger, BOB, wait=LATER)]


def _other_namespace(ledger: Ledger) -> list[SignedApproval]:
    text = signed(ledger, BOB).statement
    return [signed(ledger, ALICE), SignedApproval(text, BOB.sign(text, "git"))]


def _weak_digest(ledger: Ledger) -> list[SignedApproval]:
    text = signed(ledger, BOB).statement
    return [signed(ledger, ALICE), SignedApproval(text, BOB.sign(text, CHAMPION_NAMESPACE, "md5"))]


def _nonsense(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), SignedApproval("{}", "yes")]


def _no_signature(ledger: Ledger) -> list[SignedApproval]:
    return [signed(ledger, ALICE), SignedApproval(signed(ledger, BOB).statement, "yes")]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (_one, "1 of 2 signed approvals"),
        (_twice, "two approvals by one name"),
        (_foreign, "may not sign as eve@elsewhere"),
        (_in_anothers_name, "may not sign as bob@hospital"),
        (_altered, "its signature does not hold"),
        (_other_release, "is about registered"),
        (_early, "still to come"),
        (_other_namespace, "its signature does not hold"),
        (_weak_digest, "signed over b'md5'"),
        (_nonsense, "no statement"),
        (_no_signature, "its signature does not hold"),
    ],
)
def test_what_is_no_approval_is_refused(
    given: Callable[[Ledger], list[SignedApproval]], why: str
) -> None:
    ledger = in_memory(BOTH)
    with pytest.raises(BadInput, match=why):
        verified(ledger, given(ledger))


def test_one_key_under_two_names_is_one_person() -> None:
    double = Approver("carol@hospital", ALICE.key)
    ledger = in_memory(policy(ALICE.line(), double.line(), BOB.line()))
    assert len(verified(ledger, [signed(ledger, p) for p in (double, BOB)])) == 2
    with pytest.raises(BadInput, match="two approvals by one key"):
        verified(ledger, [signed(ledger, p) for p in (ALICE, double)])


def test_an_approval_holds_once(listed: Callable[[str], Shop]) -> None:
    shop = listed(policy(ALICE.line(), approvals=1))
    approvals = [signed(ledger_of(shop.uri), ALICE)]
    assert promote("glioma-idh/1", shop.uri, approvals=approvals) == "1"
    assert rollback("glioma-idh", shop.uri) == "2"
    with pytest.raises(BadInput, match="is about replaces"):
        promote("glioma-idh/1", shop.uri, approvals=approvals)
    report = audit("glioma-idh@champion", shop.uri)
    assert report.ok, [check for check in report.checks if not check.ok]
    assert any("went back to it" in check.what for check in report.checks)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ('valid-before="20200101Z"', "may not sign"),
        ('valid-after="29990101Z"', "may not sign"),
        ('namespaces="glioflow:*,!glioflow:glioma-idh@*"', "may not sign"),
        ('namespaces="glioflow:*",valid-after="202001010000Z"', ""),
    ],
)
def test_a_key_counts_where_and_when_its_line_says(options: str, why: str) -> None:
    ledger = in_memory(policy(ALICE.line(options), BOB.line(), EVE.line(), approvals=1))
    approvals = [signed(ledger, ALICE)]
    if not why:
        assert verified(ledger, approvals)[0].approver == ALICE.name
        return
    with pytest.raises(BadInput, match=why):
        verified(ledger, approvals)


def test_the_list_changes_as_the_one_before_demands(
    listed: Callable[[], Shop], tmp_path: Path
) -> None:
    shop, file = listed(), tmp_path / "next.yaml"
    file.write_text(policy(EVE.line(), approvals=1))
    with pytest.raises(BadInput, match="0 of 2 signed approvals"):
        list_approvers(file, shop.uri)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    subject = policy_subject(ledger_of(shop.uri).entries, sha256)
    approvals = []
    for person in (ALICE, BOB):
        text = state(person.name, "Eve takes over", subject).text()
        approvals.append(SignedApproval(text, person.sign(text, POLICY_NAMESPACE)))
    assert list_approvers(file, shop.uri, approvals) == sha256
    ledger = ledger_of(shop.uri)
    assert list_approvers(file, shop.uri) == sha256, "the same again changes nothing"
    assert ledger_of(shop.uri).head == ledger.head
    force = policy_in_force(ledger.entries)
    assert force is not None and force.sha256 == sha256
    assert promote("glioma-idh/1", shop.uri, approvals=[signed(ledger, EVE)]) == "1"
    assert audit("glioma-idh@champion", shop.uri, approvers=file).ok


@pytest.mark.parametrize(
    ("automatic", "given", "promotion"),
    [
        (True, {}, "champion"),
        (False, {}, "challenger"),
        (True, {"promote": "manual", "approve": "Ada: fine"}, "challenger"),
        (True, {"approve": "Ada: fine", "skill": 0.2}, ""),
    ],
)
def test_the_gate_demands_what_the_list_says(
    listed: Callable[[str], Shop],
    tmp_path: Path,
    automatic: bool,
    given: dict[str, Any],
    promotion: str,
) -> None:
    shop = listed(policy(ALICE.line(), approvals=1, automatic=automatic))
    skill = {"skill": given.pop("skill", 3.0)}
    third = fabricate(tmp_path / "third", seed=5, **skill)
    done = publish_run(third, shop.settings.model_copy(update=given))
    assert done.promotion == promotion
    report = audit("glioma-idh/3", shop.uri)
    assert report.ok, [check for check in report.checks if not check.ok]
    assert any("needed none, as the gate" in c.what for c in report.checks) == (
        promotion == "champion"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [1", "no YAML"),
        ("", "its content"),
        ("approvals: 0\nallowed_signers: x", "approvals: "),
        (policy("alice"), "allowed_signers, line 1"),
        (policy(f"alice cert-authority {ALICE.public}", approvals=1), "certificates"),
        (policy(f"alice {ECDSA}", approvals=1), "not supported: ecdsa-sha2-nistp256"),
        (policy("alice ssh-ed25519 AAAA", approvals=1), "line 1"),
        (policy(ALICE.line('valid-before="20270101"'), approvals=1), "'20270101' is no time"),
        (policy(ALICE.line(), approvals=2), "1 keys may sign"),
        (policy(ALICE.line('namespaces="git"'), approvals=1), "0 keys may sign"),
    ],
)
def test_a_bad_list_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        read_policy(text, "approvers.yaml")


def _rewrite_last(shop: Shop, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the newest entry and name its file by its new hash, so that the chain holds."""
    file = max((shop.root / "mlflow" / "ledger").rglob("*.json"))
    content = json.loads(file.read_text())
    change(content["details"])
    entry = Entry(**content)
    file.unlink()
    (file.parent / f"{entry.number:06d}-{entry.hash}.json").write_text(entry.to_json())
    assert not ledger_of(shop.uri).broken


@pytest.mark.parametrize("kind", ["altered", "foreign", "replayed", "removed"])
def test_audit_finds_approvals_that_were_meddled_with(
    listed: Callable[[str], Shop], kind: str
) -> None:
    shop = listed(policy(ALICE.line(), approvals=1))
    before = ledger_of(shop.uri)
    promote("glioma-idh/1", shop.uri, approvals=[signed(before, ALICE)])

    def change(details: dict[str, Any]) -> None:
        given = details["approvals"][0]
        if kind == "altered":
            given["statement"] = given["statement"].replace("read the report", "asked nobody")
        elif kind == "foreign":
            given |= signed(before, EVE).content()
        elif kind == "replayed":
            given |= signed(before, ALICE, "2").content()
        else:
            del details["approvals"]

    assert audit("glioma-idh/1", shop.uri).ok
    _rewrite_last(shop, change)
    broken = [check for check in audit("glioma-idh/1", shop.uri).checks if not check.ok]
    assert [check.what[:19] for check in broken] == ["approvals: entry 4 "]
    why = {
        "altered": "does not hold",
        "foreign": "may not sign",
        "replayed": "is about",
        "removed": "0 of 1",
    }
    assert why[kind] in broken[0].found


def test_audit_finds_a_champion_that_nobody_approved(listed: Callable[[str], Shop]) -> None:
    shop = listed(policy(ALICE.line(), approvals=1))
    promote("glioma-idh/1", shop.uri, approvals=[signed(ledger_of(shop.uri), ALICE)])
    file = max((shop.root / "mlflow" / "ledger").rglob("*.json"))
    content = json.loads(file.read_text())
    entry = Entry(**{**content, "event": "repaired", "details": {}})
    file.unlink()
    (file.parent / f"{entry.number:06d}-{entry.hash}.json").write_text(entry.to_json())
    broken = [check.what for check in audit("glioma-idh/1", shop.uri).checks if not check.ok]
    assert broken == ["approvals: entry 4 needed none, as the gate passed"]


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_openssh_signs_and_verifies(
    tampered: Callable[[], Shop], tmp_path: Path, kind: str
) -> None:
    shop, key = tampered(), new_key(tmp_path, "alice", kind)
    line = f"alice {(tmp_path / 'alice.pub').read_text().strip()}"
    (tmp_path / "approvers.yaml").write_text(policy(line, approvals=1))
    with pytest.raises(BadInput, match="none are listed"):
        approve("glioma-idh/1", shop.uri, "alice: read it", key)
    list_approvers(tmp_path / "approvers.yaml", shop.uri)
    given = approve("glioma-idh/1", shop.uri, "alice: read it", key)
    for altered, holds in (("", True), ("x", False)):
        text = given.statement.replace("read it", f"read it{altered}")
        arguments = (line, "alice", CHAMPION_NAMESPACE, text, given.signature)
        assert verified_by_ssh_keygen(tmp_path, *arguments) is holds
    assert not verified_by_ssh_keygen(
        tmp_path, line, "alice", POLICY_NAMESPACE, given.statement, given.signature
    )
    with pytest.raises(BadInput, match="may not sign as eve"):
        approve("glioma-idh/1", shop.uri, "eve: read it", key)
    with pytest.raises(BadInput, match="does not sign with it"):
        approve("glioma-idh/1", shop.uri, "alice: read it", tmp_path / "gone")
    command = ["promote", "glioma-idh/1", "--approve", "alice: read it", "--key", str(key)]
    assert cli.run([*command, "--tracking-uri", shop.uri]) == 0
    assert audit("glioma-idh@champion", shop.uri).ok


@needs_ssh_keygen
def test_our_reader_and_ssh_keygen_agree(tmp_path: Path) -> None:
    """The signatures that these tests make are OpenSSH's, and its lines mean the same to both."""
    now = datetime.now(UTC)
    for options, holds in (
        ("", True),
        ('namespaces="glioflow:*"', True),
        ('namespaces="git,glioflow:glioma-idh@champion"', True),
        ('namespaces="git"', False),
        ('namespaces="glioflow:*,!*champion"', False),
        ('valid-before="20200101Z"', False),
        ('valid-after="20200101Z",valid-before="20990101Z"', True),
    ):
        text = "a statement\n"
        lines = ALICE.line(options)
        arguments = (lines, ALICE.name, CHAMPION_NAMESPACE, text)
        found = verified_by_ssh_keygen(tmp_path, *arguments, ALICE.sign(text, CHAMPION_NAMESPACE))
        both = read_policy(policy(lines, BOB.line(), approvals=1), "p").signers[0]
        assert found == both.may(ALICE.name, CHAMPION_NAMESPACE, now) == holds, options
