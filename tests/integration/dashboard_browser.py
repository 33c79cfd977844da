"""A real browser, driven by its DevTools protocol over a pipe: no driver program and no library in between."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Chromium talks on file descriptors 3 and 4; the pipes get there between fork and exec.
_EXEC = (
    "import os, sys; r, w = (os.dup(int(x)) for x in sys.argv[1:3]); r, w = os.dup2(r, 30), os.dup2(w, 31);"
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
)


class Browser:
    """One browser process; a context manager."""

    def __init__(self, program: Path) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="customhouse-browser-")
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        for descriptor in (to_read, to_write):
            os.set_inheritable(descriptor, True)
        start = [sys.executable, "-c", _EXEC, str(to_read), str(to_write), str(program)]
        self._process = subprocess.Popen(
            [*start, *_QUIET, "--remote-debugging-pipe", f"--user-data-dir={self._home.name}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=10)
        os.close(self._read)
        for _attempt in range(20):  # its helpers may still write for a moment
            try:
                self._home.cleanup()
                break
            except OSError:
                time.sleep(0.1)

    def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command; what it answered. Events that come meanwhile are kept in `events`."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._read, 1 << 16)
            assert data, "the browser has ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def open(self, url: str, *, width: int = 1400, script: bool = True, scheme: str = "light") -> Tab:
        """A new tab with a page, loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.call("Emulation.setScriptExecutionDisabled", value=not script)
        tab.call("Page.navigate", url=url)
        tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab


class Tab:
    """One page."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    def value(self, expression: str) -> Any:
        """The JSON value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 60.0) -> float:
        """Wait until an expression holds; how long that took, in seconds."""
        began = time.monotonic()
        while not self.value(expression):
            waited = time.monotonic() - began
            assert waited < seconds, (f"not within {seconds} s: {expression}", self.value("document.body.innerText"))
            time.sleep(0.02)
        return time.monotonic() - began

    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def key(self, name: str) -> None:
        code = {"Tab": 9, "Enter": 13}[name]
        text = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def happened(self, method: str, keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[dict[str, Any]]:
        """The parameters of the events of this page so far."""
        self.value("1")  # whatever was sent before this answer has been read with it
        mine = (event for event in self._browser.events if event.get("sessionId") == self._session)
        return [event["params"] for event in mine if event["method"] == method and keep(event["params"])]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)
