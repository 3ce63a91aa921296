"""A real Chromium for tests of pages, driven over the DevTools protocol on two pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

__all__ = ["Chromium", "Page", "chromium"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)
_TRAMPOLINE = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, number in zip(ends, (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the two ends of the pipes where the browser expects them, then becomes the browser."""

_TIMEOUT_S = 30.0
_READ_SIZE = 1 << 16


class Chromium:
    """A running browser. It reads commands on its file 3 and answers on file 4, each ended by a zero byte."""

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        start = [sys.executable, "-c", _TRAMPOLINE, str(commands), str(answers)]
        arguments = [*start, program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(  # noqa: S603 - the program found in the path
            arguments, pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(answers)
        self._next, self._pending = 0, b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._commands)
            os.close(self._answers)

    def open(self, url: str) -> Page:
        """Open a page and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", url=url)
        page.wait("document.readyState === 'complete'")
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Send a command and return its result; what happens meanwhile is kept in ``events``."""
        self._next += 1
        command = {"id": self._next, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            message = self._receive(deadline)
            if message.get("id") == self._next:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])
            self.events.append(message)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(self._answers, _READ_SIZE) if ready else b""
            if not read:
                raise RuntimeError("expected an answer of the browser, got none")
            self._pending += read
        message, _, self._pending = self._pending.partition(b"\0")
        return dict(json.loads(message))


class Page:
    """One open page."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Send a command to the page."""
        return self._browser.call(method, self._session, **parameters)

    def run(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Evaluate JavaScript, wait for a promise, and return its value."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {_TIMEOUT_S:g} s for {condition}")
            time.sleep(0.02)

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    @property
    def requests(self) -> list[str]:
        """The addresses that pages asked for so far."""
        seen = [event for event in self._browser.events if event["method"] == "Network.requestWillBeSent"]
        return [str(event["params"]["request"]["url"]) for event in seen]

    @property
    def complaints(self) -> list[str]:
        """What the browser logged: refused scripts, policy violations, uncaught errors."""
        logged = [event["params"] for event in self._browser.events]
        entries = [str(event["entry"]["text"]) for event in logged if "entry" in event]
        return entries + [
            str(event["exceptionDetails"]["text"]) for event in logged if "exceptionDetails" in event
        ]


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Start a browser with a fresh profile in ``folder``; without one the test is skipped."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium in the path")
    with Chromium(program, folder / "profile") as browser:
        yield browser
