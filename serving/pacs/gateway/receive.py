"""The DICOM node that receives studies (C-STORE SCP)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from serving.pacs.gateway.metrics import Counted
from serving.pacs.gateway.settings import Listen
from serving.pacs.gateway.spool import Spool, SpoolFull

if TYPE_CHECKING:
    from pynetdicom.transport import ThreadedAssociationServer

log = logging.getLogger(__name__)

MR_CLASSES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
_CALLER_NOT_RECOGNISED = (0x01, 0x01, 0x03)
"""A-ASSOCIATE-RJ: permanent, by the user, calling AE title not recognised (PS3.8, 9.3.4)."""


def start_receiver(listen: Listen, spool: Spool, counted: Counted) -> ThreadedAssociationServer:
    """Listen in threads of its own until it is shut down.

    MR images are kept before they are acknowledged. Other objects of a study are acknowledged and
    dropped: a study is sent as a whole, and nothing here is an archive.
    """
    # What it logs at other levels names callers and quotes data sets.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    entity = AE(ae_title=listen.ae_title)
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    for offered in AllStoragePresentationContexts:
        syntaxes = [*(offered.transfer_syntax or []), *_COMPRESSED]
        entity.add_supported_context(str(offered.abstract_syntax), syntaxes)
    handlers: list[Any] = [
        (evt.EVT_REQUESTED, _admit, [listen, counted]),
        (evt.EVT_C_STORE, _keep, [spool, counted]),
    ]
    context = listen.tls.server_context() if listen.tls else None
    return entity.start_server(  # type: ignore[return-value]
        (listen.host, listen.port), block=False, ssl_context=context, evt_handlers=handlers
    )


_COMPRESSED = (
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.4.70",  # JPEG, lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS, lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.5",  # RLE
)
"""Transfer syntaxes beside the plain ones, all without loss."""


def _admit(event: evt.Event, listen: Listen, counted: Counted) -> None:
    peer = event.assoc.requestor
    asked = peer.primitive
    title = str(asked.calling_ae_title) if asked else ""
    if any(caller.is_it(title, peer.address or "") for caller in listen.callers):
        return
    counted.rejected.inc()
    log.warning("an association was rejected: its AE title and address are not listed")
    event.assoc.acse.send_reject(*_CALLER_NOT_RECOGNISED)
    event.assoc.kill()


def _keep(event: evt.Event, spool: Spool, counted: Counted) -> int:
    if event.request.AffectedSOPClassUID not in MR_CLASSES:
        counted.dropped.inc()
        return SUCCESS
    try:
        data = event.dataset
        study, image = str(data.StudyInstanceUID), str(data.SOPInstanceUID)
        content = event.encoded_dataset()
    except Exception:  # pydicom meets a damaged data set with whatever its parser stumbles over
        log.warning("an image was refused: it cannot be read")
        return CANNOT_UNDERSTAND
    try:
        spool.store(study, image, content)
    except (SpoolFull, OSError) as error:
        counted.full.inc()
        log.error("an image was refused: %s", getattr(error, "problem", None) or "disk trouble")
        return OUT_OF_RESOURCES
    counted.received.inc()
    return SUCCESS
