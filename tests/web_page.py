"""A server as users start it, and pages of it in a real browser, for the tests of the page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Playwright

SOURCE = Path(__file__).parents[1]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


def clipsearch(library: Path, cache: Path, *words: str) -> None:
    """Run the real command."""
    command = [sys.executable, "-m", "clipsearch", *words, "--library", str(library)]
    environment = os.environ | {"CLIPSEARCH_CACHE": str(cache)}
    subprocess.run(command, env=environment, cwd=SOURCE, check=True, capture_output=True)


@contextmanager
def serving(library: Path, cache: Path, port: int = 0) -> Iterator[str]:
    """`clipsearch serve`; its address."""
    command = [sys.executable, "-m", "clipsearch", "serve", "--no-open", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--library", str(library)],
        env=os.environ | {"CLIPSEARCH_CACHE": str(cache)},
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
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
            page.on(
                "console", lambda said: said.type in {"error", "warning"} and self.faults.append(said.text)
            )
            page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self._address + query)
        if ready:
            page.wait_for_selector(".tile.loaded")
        return page

    def close(self) -> None:
        """Close all windows."""
        for page in self._windows.values():
            page.context.close()
        self._windows.clear()
