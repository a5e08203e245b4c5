"""Training and scoring: from a configuration to a run folder, from a model and a split to its figures.

A reader starts at `fitting.train`. `evaluation` and `folder` know nothing of Lightning; `module`, `checkpoint` and
`progress` are imported when training starts.
"""

from seq2att.trainer.evaluation import answer, evaluate, likelihood, measure
from seq2att.trainer.fitting import train

__all__ = ["answer", "evaluate", "likelihood", "measure", "train"]
