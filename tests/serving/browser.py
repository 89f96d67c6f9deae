"""A headless Chromium that opens a local file, over the DevTools protocol's pipe."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu-sandbox",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip


@dataclass
class Tab:
    """One page of the browser.

    Attributes:
        requests: addresses that the page asked for, `data:` left out.
        complaints: errors and warnings that the page wrote or that stopped it.
    """

    _write: Any
    _read: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _number: int = 0
    _session: str | None = None

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's result; events that come before it are noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> bytes:
        letters = bytearray()
        while (letter := self._read.read(1)) != b"\0":
            assert letter, "the browser ended"
            letters += letter
        return bytes(letters)

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            address = told["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])

    def attach(self) -> None:
        """Take the browser's first page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def size(self, width: int, height: int) -> None:
        """Set the viewport, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def open(self, path: Path) -> None:
        """Load a file."""
        self.call("Page.navigate", url=path.as_uri())
        self.evaluate(
            "new Promise(done => document.readyState === 'complete' ? done() :"
            " addEventListener('load', done))"
        )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise's included."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, named as KeyboardEvent.key names it."""
        code = {"Tab": 9, "Enter": 13}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        """Write a PNG of what the viewport shows."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser_tab(folder: Path, *options: str) -> Iterator[Tab]:
    """A tab of a fresh browser, its profile in `folder`; skips where there is no Chromium."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: `apt-get install chromium`")
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()

    def wire() -> None:
        """Chromium reads commands from descriptor 3 and answers on 4."""
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, from_write)]
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [found, *OPTIONS, *options, f"--user-data-dir={folder}"],
        preexec_fn=wire,
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    try:
        with os.fdopen(to_write, "wb") as write, os.fdopen(from_read, "rb") as read:
            tab = Tab(write, read)
            tab.attach()
            yield tab
    finally:
        process.terminate()
        process.wait(timeout=20)
