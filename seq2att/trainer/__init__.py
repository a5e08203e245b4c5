"""Training and scoring: from a configuration to a run folder, from a model and a split to its figures.

Start reading at `fitting.train`; the loop itself is `loop.Training.run`. Lightning Fabric is imported when training
starts.
"""

from seq2att.trainer.evaluation import answer, evaluate, likelihood, measure
from seq2att.trainer.fitting import train

__all__ = ["answer", "evaluate", "likelihood", "measure", "train"]
