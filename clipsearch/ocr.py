"""Words in pictures, read by RapidOCR: PaddleOCR's models through onnxruntime, which come in its package.

https://github.com/RapidAI/RapidOCR
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch.errors import ModelError, PhotoError
from clipsearch.machine import usable_cores

if TYPE_CHECKING:
    from PIL import Image

# Pixels of the longer side; RapidOCR scales down what is larger.
LONGEST = 2000


class WordReader:
    """Reads words.

    Attributes:
        name: Of the engine, with its version.

    Raises:
        ModelError: The engine is not installed.
    """

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise ModelError(
                "words in pictures are read by a package that is not installed",
                'pip install "clipsearch[ocr]"',
            ) from error
        self.name = f"rapidocr {importlib.metadata.version('rapidocr')}"
        options = {
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": usable_cores(),
        }
        self._engine: Any = RapidOCR(params=options)

    def read(self, picture: Image.Image) -> str:
        """The words in a picture, a line each, as they come from top to bottom; empty where there are none.

        Raises:
            PhotoError: The engine fails on it.
        """
        pixels = np.asarray(picture)[:, :, ::-1]  # BGR, as OpenCV has it
        try:
            found = self._engine(np.ascontiguousarray(pixels))
        except Exception as error:  # whatever an engine makes of an odd picture
            raise PhotoError(f"its words cannot be read ({type(error).__name__})") from error
        return "\n".join(line.strip() for line in found.txts or () if line.strip())
