"""Models made ready to predict: their weights packed once, in float or int8, and a step that does little else."""

from seq2att.inference.generator import FastGenerator
from seq2att.inference.modules import FastLayer, FastLinear, FastOutput
from seq2att.inference.twin import follows, twin

__all__ = ["FastGenerator", "FastLayer", "FastLinear", "FastOutput", "follows", "twin"]
