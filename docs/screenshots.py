"""Screenshots of the page for README: a painted gallery, a server over it, Chromium.

    PYTHONPATH=. python docs/screenshots.py

Needs Chromium (`apt-get install chromium`) and `pip install ".[dev]"`. The photos are scenes that clipsearch
paints itself, so that the pictures may be published.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from clipsearch.builtin.scenes import gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

DOCS = Path(__file__).parent
PICTURES = 150
SIZES = [(768, 512), (512, 640), (720, 540), (800, 450)]
QUALITY = 82


def paint(folder: Path) -> None:
    """A gallery of scenes in several shapes, taken over two years, most of them in summer."""
    number = 0
    chance = random.Random(7)  # noqa: S311 - no secret
    for seed, size in enumerate(SIZES):
        for scene in gallery(PICTURES // len(SIZES), seed=2026 + 1000 * seed, size=size, kind="landscape"):
            day = 366 * chance.randrange(2) + int(366 * chance.betavariate(4, 3))
            taken = datetime(2024, 1, 1, 17) + timedelta(days=day)  # noqa: DTZ001 - a camera's clock
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
            inside = folder / str(taken.year)
            inside.mkdir(parents=True, exist_ok=True)
            scene.image.save(inside / f"{number:04}.jpg", quality=92, exif=exif)
            number += 1


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The page's address."""
    clipsearch = [sys.executable, "-m", "clipsearch"]
    library = ["--library", str(home / "library")]
    indexing = [*clipsearch, "index", str(home / "Photos"), "--model", "builtin", *library]
    subprocess.run(indexing, check=True, stdout=subprocess.DEVNULL)
    serving = [*clipsearch, "serve", "--no-open", "--port", "0", *library]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.send_signal(signal.SIGINT)


def shoot(page: Page, name: str) -> None:
    """Save what is on the screen, once all photos on it are there."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(600)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.save(DOCS / f"{name}.webp", quality=QUALITY, method=6)
    sys.stdout.write(f"docs/{name}.webp {(DOCS / f'{name}.webp').stat().st_size / 1000:.0f} kB\n")


def main() -> None:
    """Paint, serve, shoot."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        paint(home / "Photos")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if root else [])
        with served(home) as address:
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": 1280, "height": 760}, color_scheme=scheme)
                page.goto(f"{address}?q=hot air balloon")
                page.click("#show-filters")
                page.locator(".tile .open").nth(1).focus()
                page.keyboard.press("l")  # more like this
                shoot(page, f"page-{scheme}")
                page.close()
            page = browser.new_page(viewport={"width": 1280, "height": 760})
            page.goto(f"{address}?view=classify&labels=sunset, night sky, snowy mountain, forest, beach")
            shoot(page, "page-classify")
        browser.close()


if __name__ == "__main__":
    main()
