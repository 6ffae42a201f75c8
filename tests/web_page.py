"""A server as users start it, and pages of it in a real browser, for the tests of the page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

SOURCE = Path(__file__).parents[1]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


def _program(library: Path, cache: Path | None, *words: str) -> dict[str, Any]:
    program = ["-m", "clipsearch"] if cache else [str(SOURCE / "tests" / "program.py")]
    return {
        "args": [sys.executable, *program, *words, "--library", str(library)],
        "env": os.environ | {"PYTHONPATH": str(SOURCE)} | ({"CLIPSEARCH_CACHE": str(cache)} if cache else {}),
        "cwd": SOURCE,
    }


def clipsearch(library: Path, *words: str, cache: Path | None = None) -> None:
    """Run the command.

    Args:
        library: Its folder.
        words: The command's.
        cache: Where the built-in model is ready; without it there is an encoder for colours, which starts at
            once.
    """
    subprocess.run(**_program(library, cache, *words), check=True, capture_output=True)


@contextmanager
def serving(library: Path, port: int = 0, *, cache: Path | None = None) -> Iterator[str]:
    """`clipsearch serve`; its address. See `clipsearch`."""
    command = _program(library, cache, "serve", "--no-open", "--port", str(port))
    with subprocess.Popen(**command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def chromium(playwright: Playwright) -> Browser:
    """Debian's Chromium; skips the test where it is not installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs chromium: apt-get install chromium")
    # As root, as in a container, Chromium starts without its sandbox only.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=program, args=arguments)


class Screen:
    """Opens pages, and hears what goes wrong in them: errors, what the policy forbids.

    A window of each kind is kept and goes from page to page, which is twice as fast as a new one each time.
    """

    def __init__(self, browser: Browser, address: str) -> None:
        self._browser = browser
        self._address = address
        self._windows: dict[str, Page] = {}
        self.faults: list[str] = []

    def open(
        self,
        query: str = "",
        *,
        phone: bool = False,
        dark: bool = False,
        still: bool = False,
        ready: bool = True,
    ) -> Page:
        """A page with nothing remembered; `still` without motion, `ready` once photos are there."""
        size = PHONE if phone else DESK
        kind = f"{phone} {dark} {still}"
        if kind in self._windows:
            page = self._windows[kind]
            page.unroute_all()
            page.set_viewport_size(size)
            page.evaluate("localStorage.clear(); sessionStorage.clear()")
        else:
            context = self._browser.new_context(
                viewport=size,
                has_touch=phone,
                is_mobile=phone,
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce" if still else "no-preference",
                permissions=["clipboard-read", "clipboard-write"],
            )
            context.set_default_timeout(10_000)
            page = self._windows[kind] = context.new_page()
            page.on("console", self._said)
            page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self._address + query)
        if ready:
            page.wait_for_selector(".tile.loaded")
        return page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def close(self) -> None:
        """Close all windows."""
        for page in self._windows.values():
            page.context.close()
        self._windows.clear()
