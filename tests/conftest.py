"""What every test needs: nothing of the user's own is ever read or written."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(home / "library"))
    monkeypatch.setenv("CLIPSEARCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("HF_HOME", str(home / "hub"))


@pytest.fixture(scope="session")
def shared_photos() -> Path:
    """The folder of 1,000 real photographs beside the project; skips where it is not there."""
    folder = SHARED / "photos"
    if not folder.is_dir():
        pytest.skip("needs ../shared/photos")
    return folder
