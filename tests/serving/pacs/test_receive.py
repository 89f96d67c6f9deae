"""The DICOM node: who may send, what is kept, and what it says where it cannot keep."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import MRImageStorage, Verification

from serving.pacs.gateway.metrics import Counted
from serving.pacs.gateway.receive import start_receiver
from serving.pacs.gateway.send import NotStored, send
from serving.pacs.gateway.settings import Caller, DicomNode, Listen, TlsFiles
from serving.pacs.gateway.spool import Spool, study_key
from serving.pacs.gateway.state import GatewayState, Phase
from tests.cohort.dicom_writer import SECRETS
from tests.registry.servers import free_port
from tests.serving.guarded_ingress import Authority
from tests.serving.pacs.parts import archive, as_sent, study

TITLE = "GLIOFLOW"


class Node:
    """A receiver with its spool."""

    def __init__(self, folder: Path, limit_mb: int = 50, **changed: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.state = GatewayState(folder / "s.sqlite")
        self.spool = Spool(folder, self.state, limit_mb, quiet_s=0.0)
        self.registry = CollectorRegistry()
        caller = Caller(ae_title="SCANNER", addresses=("127.0.0.1",))
        settings = {"callers": (caller,), "host": "127.0.0.1", "port": free_port(), **changed}
        self.listen = Listen(**settings)
        self.server = start_receiver(self.listen, self.spool, Counted(self.registry))

    def counted(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"glioflow_gateway_{name}_total")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node")
    yield made
    made.server.shutdown()


@contextmanager
def call(node: Node, title: str = "SCANNER", called: str = TITLE) -> Iterator[Association]:
    entity = AE(ae_title=title)
    for kind in (MRImageStorage, SecondaryCaptureImageStorage, Verification):
        entity.add_requested_context(kind)
    association = entity.associate("127.0.0.1", node.listen.port, ae_title=called)
    yield association
    if association.is_established:
        association.release()


def _send(association: Association, items: list[Dataset]) -> set[int]:
    return {association.send_c_store(item).Status for item in as_sent(items)}


def test_images_are_kept_before_they_are_acknowledged(node: Node) -> None:
    items = study(only="t1c t2")
    with call(node) as association:
        assert association.send_c_echo().Status == 0
        assert _send(association, items) == {0}
    key = study_key(items[0].StudyInstanceUID)
    assert len(node.spool.images(key)) == len(items)
    (record,) = node.state.studies()
    assert record.phase is Phase.RECEIVING
    assert node.counted("images_received") == len(items)


def test_other_objects_are_taken_and_dropped(node: Node) -> None:
    item = study(only="t1")[0]
    item.SOPClassUID = SecondaryCaptureImageStorage
    with call(node) as association:
        assert _send(association, [item]) == {0}
    assert node.state.studies() == []
    assert node.counted("objects_dropped") == 1


@pytest.mark.parametrize(("title", "called"), [("STRANGER", TITLE), ("SCANNER", "ANOTHER")])
def test_who_is_not_listed_is_rejected(
    node: Node, title: str, called: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), call(node, title, called) as association:
        assert association.is_rejected
    assert node.state.studies() == []
    assert "STRANGER" not in caplog.text


def test_a_listed_title_from_another_address_is_rejected(tmp_path: Path) -> None:
    callers = (Caller(ae_title="SCANNER", addresses=("192.0.2.0/24",)),)
    made = Node(tmp_path / "node", callers=callers)
    with call(made) as association:
        assert association.is_rejected
    made.server.shutdown()
    assert made.counted("associations_rejected") == 1


def test_a_full_disk_is_told_to_the_sender(tmp_path: Path) -> None:
    made = Node(tmp_path / "node", limit_mb=1)
    items = study(only="t1c")
    items[1].ImageComments = "x" * (1 << 20)
    with call(made) as association:
        assert _send(association, items[:2]) == {0, 0xA700}
    made.server.shutdown()
    assert len(made.spool.images(study_key(items[0].StudyInstanceUID))) == 1


def test_what_cannot_be_read_is_refused_without_a_word_of_it(
    node: Node, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    item = study(only="t1")[0]
    del item.StudyInstanceUID
    with caplog.at_level(logging.DEBUG), call(node) as association:
        caplog.clear()
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        assert _send(association, [item]) == {0xC000}
    told = caplog.text + "".join(capfd.readouterr())
    assert not [word for word in map(str, SECRETS.values()) if word in told]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


def _files(authority: Authority, name: str) -> TlsFiles:
    signed = authority.sign(name)
    return TlsFiles(
        certificate=signed.certificate, key=signed.key, authorities=authority.certificates
    )


def test_with_tls_both_sides_show_who_they_are(tmp_path: Path, authority: Authority) -> None:
    made = Node(tmp_path / "node", tls=_files(authority, "localhost"))
    stranger = Authority(tmp_path, "stranger")
    items = as_sent(study(only="t1c"))

    def deliver(tls: TlsFiles | None) -> None:
        target = DicomNode(
            ae_title=TITLE, host="localhost", port=made.listen.port, calling_ae_title="SCANNER",
            tls=tls,
        )  # fmt: skip
        send(target, items)

    nobody = TlsFiles(authorities=authority.certificates)
    wrong = TlsFiles(authorities=stranger.certificates)
    for tls in (None, nobody, wrong, _files(stranger, "client")):
        with pytest.raises(NotStored):
            deliver(tls)
    assert made.state.studies() == []
    deliver(_files(authority, "client"))
    assert len(made.spool.images(study_key(items[0].StudyInstanceUID))) == len(items)
    made.server.shutdown()


def test_answers_go_to_a_node_with_tls(tmp_path: Path, authority: Authority) -> None:
    items = as_sent(study(only="t1c"))
    context = _files(authority, "localhost").server_context()
    with archive(ssl_context=context) as pacs:
        node = DicomNode(
            ae_title="ARCHIVE", host="localhost", port=pacs.port, tls=_files(authority, "client")
        )
        send(node, items)
        assert len(pacs.kept) == len(items)


def test_a_node_that_is_away_is_named_by_its_setting() -> None:
    node = DicomNode(ae_title="ARCHIVE", host="127.0.0.1", port=free_port())
    with pytest.raises(NotStored, match="send: the DICOM node does not answer"):
        send(node, study(only="t1"))
