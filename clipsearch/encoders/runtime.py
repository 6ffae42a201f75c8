"""ONNX Runtime, told to keep to itself: import it from here.

Since 1.31 at the latest, its builds report what they are used for to their maker, over the network, some
seconds after the first sessions. clipsearch promises that nothing leaves this machine.
"""

import os

# Two switches: this one is read when the library is loaded, the one below is documented.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
