"""DICOMweb: studies found by QIDO-RS and fetched by WADO-RS, answers stored by STOW-RS."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import requests
from pydicom import Dataset
from requests.adapters import HTTPAdapter

from components.core.errors import BadInput
from serving.pacs.gateway.metrics import Counted
from serving.pacs.gateway.send import NotStored
from serving.pacs.gateway.settings import DicomWeb, Poll, read_token
from serving.pacs.gateway.spool import Spool
from serving.pacs.gateway.state import GatewayState

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

_STUDY, _SERIES, _IMAGES = "0020000D", "0020000E", "00201209"
_ANY_SYNTAX = (("application/dicom", "*"),)
TIMEOUT_S = 60.0
_PAGE = 100


class _Encrypted(HTTPAdapter):
    """Checks the server and shows ourselves by the files of the settings."""

    def __init__(self, server: DicomWeb) -> None:
        self._context = server.tls.client_context()
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        return super().send(request, *args, **{**options, "timeout": TIMEOUT_S})


def open_dicomweb(server: DicomWeb) -> DICOMwebClient:
    """A client of a server. Raises BadInput: its token cannot be read."""
    from dicomweb_client import DICOMwebClient

    # It logs addresses, which hold UIDs.
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
    session = requests.Session()
    session.mount("https://", _Encrypted(server))
    token = read_token(server.token_file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client = DICOMwebClient(server.url, session=session, headers=headers)
    client.set_http_retry_params(retry=False)
    return client


def fetch_new(poll: Poll, spool: Spool, state: GatewayState, counted: Counted) -> None:
    """Bring every MR series that has grown since it was fetched into the spool.

    Raises:
        requests.RequestException: the server is away, or refuses.
        SpoolFull: no room; what was not fetched is fetched the next time.
    """
    client = open_dicomweb(poll.server)
    for study, series, images in _series(client, poll.days):
        if state.images_fetched(series) >= images:
            continue
        for image in client.iter_series(study, series, media_types=_ANY_SYNTAX):
            if spool.store(study, str(image.SOPInstanceUID), _encoded(image)):
                counted.received.inc()
        state.fetched(series, images)


def _series(client: DICOMwebClient, days: int) -> Iterator[tuple[str, str, int]]:
    """Study UID, series UID and number of images of every MR series of the last days."""
    since = (date.today() - timedelta(days=days)).strftime("%Y%m%d")
    wanted = {"ModalitiesInStudy": "MR", "StudyDate": f"{since}-"}
    studies = partial(client.search_for_studies, search_filters=wanted)
    for study, _ in _all(studies, _STUDY):
        filters = {"Modality": "MR"}
        for series, told in _all(
            partial(client.search_for_series, study, search_filters=filters), _SERIES
        ):
            yield study, series, int(told.get(_IMAGES, {}).get("Value", [1])[0])


def _all(
    search: Callable[..., list[dict[str, Any]]], uid: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every match of a search with its UID, page by page.

    Until a page brings nothing new: some servers answer each offset with the first page.
    """
    seen: set[str] = set()
    while True:
        page = {found[uid]["Value"][0]: found for found in search(offset=len(seen), limit=_PAGE)}
        new = page.keys() - seen
        yield from ((each, page[each]) for each in page if each in new)
        seen |= new
        if not new or len(page) < _PAGE:
            return


def _encoded(image: Dataset) -> bytes:
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def stow(server: DicomWeb, study_uid: str, objects: list[Dataset]) -> None:
    """Store objects in their study. Raises NotStored."""
    try:
        told = open_dicomweb(server).store_instances(objects, study_uid)
    except BadInput as error:
        raise NotStored("store", f"{error.subject}: {error.problem}") from None
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", None)
        said = f"HTTP status {status}" if status else type(error).__name__
        raise NotStored("store", f"the server does not take answers ({said})") from None
    failed = told.get("FailedSOPSequence", [])
    if failed:
        reasons = sorted({f"{int(item.get('FailureReason', 0)):04X}" for item in failed})
        raise NotStored("store", f"{len(failed)} objects failed ({', '.join(reasons)})")
