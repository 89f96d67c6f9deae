"""A Triton server on this machine: started, found ready by an answer, drained, stopped."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from components.core.errors import BadInput
from components.release.inference.onnx_network import require_cuda
from components.release.release import model_name, suffix_of
from components.release.settings import Node
from components.release.tensors import ENSEMBLES, Step
from serving.client.client import Client
from serving.triton.binary import prepare_backends, server_command, server_environment, tritonserver
from serving.triton.control import load, unanswered, unload
from serving.triton.metrics import IDLE, read_activity
from serving.triton.process import bracketed, end_group, free_port, stop_signals
from serving.triton.server_folder import Store

log = logging.getLogger(__name__)

START_TIMEOUT_S = 180.0
DRAIN_TIMEOUT_S = 120.0
"""Longest wait for requests in flight before the server is told to stop."""

EMPTY_LOOKS = 2
"""A request on its way from one model to the next is in none of them: one look is not enough."""

STILL_S = 3.0
STILL_TIMES = 5.0
"""With no queue and no model ending anything for STILL_S and this many times the slowest model's
mean computation, nothing is being computed."""

STOP_TIMEOUT_S = 30.0
LOG_TAIL_LINES = 15

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Address that listens on all of a machine's -> where this machine reaches it."""


class ServerFailed(RuntimeError):
    """The server did not start, or died; its message ends with the last lines of its log."""


class LocalServer:
    """Context manager around one Triton server that serves one release.

    Args:
        repository: an exported release (a folder with release.json), verified before it is served;
            None serves what is live in `store`.
        store: folder that keeps releases across restarts, for deploying and rolling back; a
            temporary one by default.
        host: address to listen on.
        grpc_port, http_port, metrics_port: 0 takes a free one.
        audit: file that gets one JSON line a prediction.
        log_file: the server's output; by default in the store.
        node: kind of this machine; by default what the release was exported for.

    Attributes:
        release: id of the release that is served.
        grpc_address, http_address, metrics_address: HOST:PORT.
        log: path of the server's log.
    """

    def __init__(
        self,
        repository: Path | str | None,
        *,
        store: Path | None = None,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        audit: Path | None = None,
        log_file: Path | None = None,
        node: Node | None = None,
    ) -> None:
        self._cleanup = contextlib.ExitStack()
        self._host, self._audit = host.strip("[]"), audit
        self._ports = [grpc_port, http_port, metrics_port]
        self._repository = Path(repository) if repository is not None else None
        self._folder = store
        self._log_file, self._node = log_file, node
        self._process: subprocess.Popen[bytes] | None = None
        self.release = ""

    def __enter__(self) -> LocalServer:
        with contextlib.ExitStack() as guard:
            guard.callback(self._cleanup.close)
            self._start()
            guard.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def grpc_address(self) -> str:
        """Where clients ask."""
        return self._address(0)

    @property
    def http_address(self) -> str:
        """Triton's HTTP interface."""
        return self._address(1)

    @property
    def metrics_address(self) -> str:
        """Prometheus metrics, under /metrics."""
        return self._address(2)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None
        return self._process.pid

    def _address(self, index: int) -> str:
        host = EVERYWHERE.get(self._host, self._host)
        return f"{bracketed(host)}:{self._ports[index]}"

    def _start(self) -> None:
        # Where there is no server, nothing is copied first.
        tritonserver()
        scratch = Path(
            self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="glioflow-serve-"))
        )
        self.store = Store(self._folder or scratch / "store", self._node)
        self._choose_release()
        self.log = self._log_file or self.store.folder / "triton.log"
        self._ports = [free_port(self._host, port) for port in self._ports]
        command = self._command(prepare_backends(scratch / "backends"))
        environment = server_environment()
        if self._audit is not None:
            environment["GLIOFLOW_AUDIT"] = str(self._audit.resolve())
        stream = self._cleanup.enter_context(self.log.open("ab"))
        # A session of its own: Ctrl-C must reach us, not the requests in flight.
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._cleanup.callback(self._kill)
        self._await_answer()

    def _choose_release(self) -> None:
        if self._repository is not None:
            release = self.store.add(self._repository)
            self.store.make_live(release)
        else:
            history = self.store.history()
            if not history:
                raise BadInput(self.store.folder, "holds no release", "give one to serve")
            release = self.store.add(self.store.release(history[-1]).folder)
        if self.store.node_of(release) is Node.GPU:
            require_cuda()
        self.release = release.release

    def _command(self, backends: Path) -> list[str]:
        # Each by name: what an ensemble alone brought in would leave with its next config.
        names = [*(model_name(step, suffix_of(self.release)) for step in Step), *ENSEMBLES]
        folders = {"model-repository": self.store.models, "backend-directory": backends}
        stop = round(STOP_TIMEOUT_S)
        return server_command(folders, self._host, self._ports, names, exit_timeout_secs=stop)

    def _await_answer(self) -> None:
        """Ready is who answers: liveness and readiness stay true over a dead Python model."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with Client(self.grpc_address) as client:
            while True:
                if not self.alive():
                    raise ServerFailed(f"the server exited while starting\n{self._tail()}")
                reason = unanswered(client)
                if reason is None:
                    log.info("%s answers on %s", self.release, self.grpc_address)
                    return
                if "failed to load" in self._tail(200) or time.monotonic() > deadline:
                    raise ServerFailed(f"the ensemble does not answer: {reason}\n{self._tail()}")
                time.sleep(0.2)

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def memory_mib(self) -> float:
        """What the server and its models hold; shared pages counted once."""
        import psutil

        server = psutil.Process(self.pid)
        pids = [server, *server.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in pids) / 2**20

    def wait(self) -> None:
        """Serve what is live in the store until SIGTERM, SIGINT or the server's own end.

        Raises ServerFailed: the server died by itself.
        """
        assert self._process is not None
        with stop_signals() as stopped:
            while not stopped:
                try:
                    code = self._process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    self.follow_store()
                    continue
                raise ServerFailed(f"the server ended by itself with code {code}\n{self._tail()}")

    def follow_store(self) -> None:
        """Load what has become live in the store; whatever fails there, the old one serves on.

        A release that does not load is not live any more. The old one's models go when the last
        request inside them has left.
        """
        live, old = self.store.history()[-1:], self.release
        if not live or live[0] == old:
            return
        try:
            with Client(self.grpc_address) as client:
                load(client.raw, live[0])
        except Exception as error:
            log.error("%s does not load (%s); %s serves on", live[0], error, old)
            self.store.make_live(self.store.release(old))
            return
        self.release = live[0]
        log.info("%s serves now, instead of %s", live[0], old)
        self._await_empty(suffix_of(old))
        with Client(self.grpc_address) as client:
            unload(client.raw, old)

    def _await_empty(self, suffix: str = "") -> None:
        """Wait until nothing is inside the models of a release (of any), seen twice in a row.

        Requests whose end Triton never counts (see `read_activity`) are waited for no longer than
        any model could still be computing them.
        """
        deadline, empty = time.monotonic() + DRAIN_TIMEOUT_S, 0
        seen, moved = IDLE, time.monotonic()
        while self.alive() and time.monotonic() < deadline:
            before, seen = seen, read_activity(self.metrics_address, suffix)
            empty = 0 if seen.inside else empty + 1
            if empty == EMPTY_LOOKS:
                return
            if seen.pending or seen.ended != before.ended:
                moved = time.monotonic()
            if seen.longest_s and time.monotonic() - moved > STILL_S + STILL_TIMES * seen.longest_s:
                log.info("%d requests without an end: refused, or their clients left", seen.inside)
                return
            time.sleep(0.2)

    def drain(self) -> None:
        """Take no new request, and wait for those in flight: SIGTERM would fail them."""
        with Client(self.grpc_address) as client, contextlib.suppress(Exception):
            for name in ENSEMBLES:
                client.raw.unload_model(name)
        self._await_empty()

    def stop(self) -> None:
        """Drain, stop, clean up."""
        try:
            if self.alive():
                self.drain()
        finally:
            self._cleanup.close()

    def _kill(self) -> None:
        if self._process is not None:
            end_group(self._process, STOP_TIMEOUT_S)

    def _tail(self, lines: int = LOG_TAIL_LINES) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""
