"""The gateway as a process: receives, looks, works and tells until it is stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, start_http_server

from components.core.errors import BadInput, Outage
from serving.client.glioflow_client.connection import Access
from serving.client.glioflow_client.images import ImagesClient
from serving.pacs.gateway.dicomweb import fetch_new, stow
from serving.pacs.gateway.metrics import Counted, StudyCollector
from serving.pacs.gateway.receive import start_receiver
from serving.pacs.gateway.send import send
from serving.pacs.gateway.settings import GatewaySettings, Poll, TritonServer, read_token
from serving.pacs.gateway.spool import Spool
from serving.pacs.gateway.state import GatewayState
from serving.pacs.gateway.work import Worker

log = logging.getLogger(__name__)

STATE_FILE = "gateway.sqlite"
IDLE_S = 0.5
_HOUR = 3600.0


@contextmanager
def gateway(settings: GatewaySettings) -> Iterator[Worker]:
    """Everything of a gateway but its work; use `work` with what is yielded.

    Raises:
        BadInput: the folder is another gateway's, a file of the settings is missing, or a port is
            taken.
    """
    with ExitStack() as stack:
        stack.enter_context(_sole_owner(settings.folder))
        state = GatewayState(settings.folder / STATE_FILE)
        stack.callback(state.close)
        spool = Spool(settings.folder, state, settings.spool_mb, settings.quiet_s)
        registry = CollectorRegistry()
        counted = Counted(registry)
        registry.register(StudyCollector(state, spool))
        client = stack.enter_context(connect_triton(settings.triton))
        if settings.metrics_port:
            with _naming("metrics_port"):
                server, thread = start_http_server(
                    settings.metrics_port, settings.metrics_host, registry
                )
            stack.callback(thread.join)
            stack.callback(server.shutdown)
        if settings.listen:
            with _naming("listen"):
                receiver = start_receiver(settings.listen, spool, counted)
            stack.callback(receiver.shutdown)
        if settings.poll:
            stack.enter_context(_looking(settings.poll, spool, state, counted))
        yield Worker(state, spool, client, _storing(settings), counted)


def work(worker: Worker, keep_h: float, stop: threading.Event) -> None:
    """Work until `stop` is set; the study in hand is finished."""
    while not stop.is_set():
        if worker.step():
            continue
        worker.spool.expire(worker.state.clock() - keep_h * _HOUR)
        stop.wait(IDLE_S)


def connect_triton(triton: TritonServer) -> ImagesClient:
    """A client of the server that answers. Raises BadInput, Refused: a file is missing."""
    tls = triton.tls
    identity = (tls.certificate, tls.key) if tls.certificate and tls.key else None
    access = Access(triton.encrypted, tls.authorities, identity, read_token(triton.token_file))
    return ImagesClient(triton.address, deadline_s=triton.deadline_s, access=access)


def _storing(settings: GatewaySettings) -> Callable[[str, list[Any]], None]:
    if settings.store is not None:
        server = settings.store
        return lambda study_uid, objects: stow(server, study_uid, objects)
    node = settings.send
    assert node is not None  # by GatewaySettings
    return lambda study_uid, objects: send(node, objects)


@contextmanager
def _sole_owner(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / "gateway.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadInput(folder, "another gateway works there", "give another folder") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _naming(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise BadInput(setting, problem, "give a free port, and files that are there") from None


@contextmanager
def _looking(
    poll: Poll, spool: Spool, state: GatewayState, counted: Counted
) -> Iterator[threading.Thread]:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                fetch_new(poll, spool, state, counted)
            except (requests.RequestException, Outage) as error:
                counted.errors.inc()
                # Not a request's own words: they hold UIDs.
                log.warning("poll: %s", getattr(error, "problem", None) or type(error).__name__)
            except Exception as error:
                counted.errors.inc()
                log.error("poll: an error of ours: %s", type(error).__name__)
            stop.wait(poll.every_s)

    thread = threading.Thread(target=look, name="poll", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=5.0)
