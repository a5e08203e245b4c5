"""Models optimized for inference: their weights packed once, in float or int8, and decoding one step at a time."""

from seq2att.inference.generator import FastGenerator
from seq2att.inference.modules import FastLayer, FastLinear, FastOutput
from seq2att.inference.optimize import is_supported, optimize_for_inference, weights_version

__all__ = [
    "FastGenerator",
    "FastLayer",
    "FastLinear",
    "FastOutput",
    "is_supported",
    "optimize_for_inference",
    "weights_version",
]
