"""S3 over real HTTP: a local server, behind a proxy that breaks what passes through it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import SimpleITK as sitk
from moto.server import ThreadedMotoServer

from components.cohort.images import read_image
from components.cohort.manifest import read_manifest
from components.core.errors import BadInput, Outage
from components.core.s3 import client as remote
from components.core.s3 import download, local_copy, read_object, remote_version, write_object
from tests.core.s3_server import Proxy, refusing_server

BUCKET = "hospital"
CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, int]]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def proxy(moto: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    proxy = Proxy(*moto)
    for name, value in {
        "AWS_ENDPOINT_URL": proxy.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
        "GLIOFLOW_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download, "BACK_OFF_S", 0.001)
    yield proxy
    proxy.stop()


@pytest.fixture
def s3(proxy: Proxy, moto: tuple[str, int]) -> Iterator[Any]:
    client = boto3.client("s3", endpoint_url="http://{}:{}".format(*moto))
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])


def test_a_local_path_stays_as_it_is(tmp_path: Path) -> None:
    assert local_copy(tmp_path / "a") == tmp_path / "a"


def test_an_object_is_brought_once_and_anew_when_it_changes(s3: Any, proxy: Proxy) -> None:
    s3.put_object(Bucket=BUCKET, Key="a/b.txt", Body=b"one")
    first = local_copy("s3://hospital/a/b.txt")
    assert (first.name, first.read_bytes()) == ("b.txt", b"one")
    assert local_copy("s3://hospital/a/b.txt") == first
    assert len(proxy.faults.ranges) == 1
    s3.put_object(Bucket=BUCKET, Key="a/b.txt", Body=b"two")
    assert local_copy("s3://hospital/a/b.txt").read_bytes() == b"two"


def test_a_store_at_an_ipv6_address_is_read_and_written(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = ThreadedMotoServer(ip_address="::1", port=0)
    running.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://[::1]:{running.get_host_and_port()[1]}")
        remote.client().create_bucket(Bucket=BUCKET)
        write_object(f"s3://{BUCKET}/six", CONTENT)
        assert local_copy(f"s3://{BUCKET}/six").read_bytes() == CONTENT
    finally:
        running.stop()


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=len)
def test_any_size_is_brought_whole(s3: Any, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key="o", Body=content)
    assert local_copy("s3://hospital/o").read_bytes() == content


def test_a_broken_connection_goes_on_from_its_last_byte(s3: Any, proxy: Proxy) -> None:
    s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT)
    proxy.faults.cut = 3
    assert local_copy("s3://hospital/big").read_bytes() == CONTENT
    first, *rest = proxy.faults.ranges
    assert first == ""
    assert len(rest) == 3
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in rest]
    assert 0 < starts[0] < starts[1] < starts[2]


def test_refusals_for_a_moment_are_waited_out(s3: Any, proxy: Proxy) -> None:
    s3.put_object(Bucket=BUCKET, Key="o", Body=b"one")
    proxy.faults.refuse = 1
    assert local_copy("s3://hospital/o").read_bytes() == b"one"


@pytest.mark.parametrize("parts", [1, 2])
def test_a_changed_byte_is_noticed_and_mended(s3: Any, proxy: Proxy, parts: int) -> None:
    content = np.random.default_rng(1).bytes(6_000_000)
    if parts == 1:
        s3.put_object(Bucket=BUCKET, Key="o", Body=content)
    else:
        _upload_in_parts(s3, content)
    proxy.faults.spoil = 1
    assert local_copy("s3://hospital/o").read_bytes() == content
    assert proxy.faults.ranges == ["", ""]
    proxy.faults.spoil = 10
    s3.put_object(Bucket=BUCKET, Key="p", Body=content)
    with pytest.raises(Outage, match="arrives altered"):
        local_copy("s3://hospital/p")


def _upload_in_parts(s3: Any, content: bytes) -> None:
    size = 5 << 20
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="o")["UploadId"]
    done = []
    for number, start in enumerate(range(0, len(content), size), start=1):
        answer = s3.upload_part(
            Bucket=BUCKET,
            Key="o",
            PartNumber=number,
            UploadId=upload,
            Body=content[start : start + size],
        )
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(
        Bucket=BUCKET, Key="o", UploadId=upload, MultipartUpload={"Parts": done}
    )


def test_a_killed_download_is_resumed(s3: Any, proxy: Proxy, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT)
    proxy.faults.pause_s = 0.05
    command = "from components.core.s3 import local_copy; local_copy('s3://hospital/big')"
    child = subprocess.Popen([sys.executable, "-c", command])
    partial: list[Path] = []
    deadline = time.monotonic() + 60
    while not (partial and partial[0].stat().st_size > 0):
        assert time.monotonic() < deadline, "the download never began"
        partial = list((tmp_path / "cache").rglob("big.part"))
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept = partial[0].stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not list((tmp_path / "cache").rglob("big"))
    proxy.faults.pause_s = 0.0
    assert local_copy("s3://hospital/big").read_bytes() == CONTENT
    assert proxy.faults.ranges[-1] == f"bytes={kept}-"


def test_a_full_disk_stops_the_run_and_keeps_what_came(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT)
    command = (
        "import resource, signal\n"
        "from components.core.errors import Outage\n"
        "from components.core.s3 import local_copy\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        "try:\n    local_copy('s3://hospital/big')\n"
        "except Outage as error:\n    assert 'make room' in str(error)\n"
        "else:\n    raise SystemExit('no outage')\n"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
    assert not list((tmp_path / "cache").rglob("big"))
    assert local_copy("s3://hospital/big").read_bytes() == CONTENT


def test_many_askers_bring_one_copy(s3: Any, proxy: Proxy) -> None:
    s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT)
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(local_copy, ["s3://hospital/big"] * 4))
    assert len(set(places)) == 1
    assert places[0].read_bytes() == CONTENT
    assert len(proxy.faults.ranges) == 1


def test_an_object_replaced_while_it_is_read_is_read_anew(s3: Any, proxy: Proxy) -> None:
    s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT)
    proxy.faults.pause_s, proxy.faults.cut = 0.02, 1

    def replace() -> None:
        while not proxy.faults.ranges:
            time.sleep(0.005)
        s3.put_object(Bucket=BUCKET, Key="big", Body=CONTENT[::-1])

    other = threading.Thread(target=replace)
    other.start()
    copy = local_copy("s3://hospital/big")
    other.join()
    assert copy.read_bytes() == CONTENT[::-1]


def test_a_prefix_becomes_a_folder(s3: Any) -> None:
    for index in range(3):
        s3.put_object(Bucket=BUCKET, Key=f"p1/t1c/{index}.dcm", Body=bytes([index]))
    s3.put_object(Bucket=BUCKET, Key="p1/t1c-other/9.dcm", Body=b"9")
    folder = local_copy("s3://hospital/p1/t1c")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "0.dcm": b"\0",
        "1.dcm": b"\1",
        "2.dcm": b"\2",
    }
    s3.put_object(Bucket=BUCKET, Key="p1/t1c/3.dcm", Body=b"3")
    assert len(list(local_copy("s3://hospital/p1/t1c").iterdir())) == 4


def test_a_key_cannot_leave_the_cache(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="p1/../../x", Body=b"1")
    with pytest.raises(BadInput, match=r"without '\.\.'"):
        local_copy("s3://hospital/p1")


def test_a_manifest_and_its_images_are_read_from_s3(s3: Any, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.random.default_rng(0).random((8, 9, 10)).astype(np.float32))
    sitk.WriteImage(image, str(tmp_path / "t1c.nii.gz"))
    s3.upload_file(str(tmp_path / "t1c.nii.gz"), BUCKET, "cohort/p1/t1c.nii.gz")
    s3.put_object(Bucket=BUCKET, Key="cohort/p1/flair.nii.gz", Body=b"no image")
    rows = (
        "patient_id,site,t1c,t2,flair,age,idh\n"
        "p1,here,p1/t1c.nii.gz,s3://other/t2.nii.gz,./p1/flair.nii.gz,50,1\n"
    )
    s3.put_object(Bucket=BUCKET, Key="cohort/manifest.csv", Body=rows.encode())
    (patient,) = read_manifest("s3://hospital/cohort/manifest.csv")
    assert patient.t1c == "s3://hospital/cohort/p1/t1c.nii.gz"
    assert patient.t2 == "s3://other/t2.nii.gz"
    assert read_image(patient.t1c).GetSize() == (10, 9, 8)
    with pytest.raises(BadInput, match=r"^s3://hospital/cohort/p1/flair\.nii\.gz: not a readable"):
        read_image(str(patient.flair))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://hospital/gone.csv", "no such object"),
        ("s3://no-such-bucket/x", "no such object"),
        ("s3://hospital/", "not an S3 address"),
    ],
)
def test_what_is_not_there_is_refused(s3: Any, address: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        local_copy(address)
    assert refused.value.subject == address
    assert not isinstance(refused.value, Outage)


def test_a_server_that_is_away_is_an_outage(
    s3: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.faults.refuse = 100
    with pytest.raises(Outage, match="S3 answers 503"):
        local_copy("s3://hospital/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Outage, match="check AWS_ENDPOINT_URL"):
        local_copy("s3://hospital/a")


def test_no_credentials_are_an_outage(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    remote._client_of.cache_clear()
    with pytest.raises(Outage, match="AWS_ACCESS_KEY_ID"):
        local_copy("s3://hospital/a")
    remote._client_of.cache_clear()


REFUSALS = [
    (403, "AccessDenied", "s3:ListBucket"),
    (401, "Unauthorized", "s3:ListBucket"),
    (400, "ExpiredToken", "have expired"),
    (403, "InvalidAccessKeyId", "not known there"),
    (403, "SignatureDoesNotMatch", "secret key does not fit"),
    (403, "RequestTimeTooSkewed", "clock"),
    (407, "ProxyAuthenticationRequired", "HTTPS_PROXY"),
    (501, "NotImplemented", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    (507, "InsufficientStorage", "the store is full"),
    (403, "QuotaExceeded", "the store is full"),
]


@pytest.mark.parametrize(("status", "code", "said"), REFUSALS, ids=lambda value: str(value))
def test_what_refuses_every_patient_is_an_outage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str, said: str
) -> None:
    with refusing_server(status, code) as address:
        _point_at(address, monkeypatch, tmp_path)
        for action in (
            lambda: local_copy("s3://hospital/a"),
            lambda: read_object("s3://hospital/a"),
            lambda: write_object("s3://hospital/a", b"1"),
        ):
            with pytest.raises(Outage) as stopped:
                action()
            assert said in str(stopped.value)


def test_a_refused_key_in_a_bucket_that_may_be_listed_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with refusing_server(403, "AccessDenied", lists=True) as address:
        _point_at(address, monkeypatch, tmp_path)
        with pytest.raises(Outage, match="may be listed") as stopped:
            local_copy("s3://hospital/a")
    assert "s3:ListBucket" not in stopped.value.remedy


def test_a_store_that_knows_no_checksums_is_sent_none(s3: Any, proxy: Proxy) -> None:
    write_object("s3://hospital/record.json", b"{}")
    sent = [name for name in proxy.faults.headers if "checksum" in name]
    assert sent == []


def test_the_version_of_a_series_changes_with_any_of_its_objects(s3: Any) -> None:
    for index in range(2):
        s3.put_object(Bucket=BUCKET, Key=f"v/{index}.dcm", Body=bytes([index]))
    first = remote_version("s3://hospital/v")
    assert remote_version("s3://hospital/v") == first
    s3.put_object(Bucket=BUCKET, Key="v/1.dcm", Body=b"9")
    assert remote_version("s3://hospital/v") != first


@pytest.mark.parametrize(
    ("name", "value", "subject"),
    [
        ("AWS_ENDPOINT_URL", "minio:9000", "AWS_ENDPOINT_URL"),
        ("AWS_MAX_ATTEMPTS", "many", "AWS_MAX_ATTEMPTS"),
        ("AWS_PROFILE", "no-such-profile", "s3://hospital/a"),
    ],
)
def test_a_wrong_setting_is_named(
    s3: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, subject: str
) -> None:
    monkeypatch.setenv(name, value)
    remote._client_of.cache_clear()
    with pytest.raises(BadInput) as refused:
        local_copy("s3://hospital/a")
    assert refused.value.subject == subject
    remote._client_of.cache_clear()


def _point_at(address: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "GLIOFLOW_CACHE": str(folder / "cache"),
    }.items():
        monkeypatch.setenv(name, value)


def test_settings_of_glioflow_come_before_those_of_aws(
    s3: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod's AWS variables may be those of KFP's own store."""
    s3.put_object(Bucket=BUCKET, Key="o", Body=b"one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GLIOFLOW_AWS_ENDPOINT_URL", proxy.address)
    assert read_object("s3://hospital/o") == b"one"
