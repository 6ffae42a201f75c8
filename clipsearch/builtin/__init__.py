"""The small model that ships with clipsearch, and the programs that made it."""

from pathlib import Path
from typing import Final

MODEL_DIR: Final = Path(__file__).parent / "model"
"""The model in OpenCLIP's hub-folder layout: load it as ``local-dir:<MODEL_DIR>``."""
