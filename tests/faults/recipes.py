"""The small runs that are disturbed."""

from __future__ import annotations

from tests.tiny import CLASSES, TAGS, TEXTS

TRANSLATION = """
defaults:
  - config
  - override head: translation
  - override source/tokenizer: word
  - override target/tokenizer: char
  - override reader: given
  - override attention: additive
  - _self_
reader:
  train: ["one two\\tab", "two one\\tba", "three\\tabc", "one\\ta", "two\\tb", "three two\\tcb", "one three\\tac"]
  validation: ["one two\\tab", "three one\\tca"]
  test: ["one two\\tab"]
source: {embedding_size: 6}
target: {embedding_size: 6}
encoder: {size: 6}
decoder: {size: 6}
callbacks: [gradient_norms]
loggers: [csv]
"""
SMALL = "trainer.progress=false data.batch_size=2 trainer.log_every=3 trainer.epochs=2".split()
WORSE = "trainer.epochs=3 optimizer.learning_rate=0.5".split()  # so that the last epoch is not the best
STREAMS = "data.batching=stream data.steps=4 trainer.validate_every=0.5 trainer.epochs=1".split()
RECIPES: dict[str, tuple[str, list[str]]] = {  # the text of a recipe, and settings for it
    "translation": (TRANSLATION, SMALL),
    "classifier": (CLASSES, [*SMALL, *WORSE]),
    "language model": (TEXTS, [*SMALL, *STREAMS]),
    "tagger": (TAGS, SMALL),
}
