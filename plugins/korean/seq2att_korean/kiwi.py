"""Korean morphemes, cut by kiwipiepy (https://github.com/bab2min/kiwipiepy): no Java."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from seq2att import Inherited, UserError, register
from seq2att_korean.morphemes import SURROGATES, Morphemes, MorphemeTokenizer

UNTAGGED = "NNP"  # how a morpheme is joined that no training text has
ENDINGS = "E"
STEMS = ("V", "XSV", "XSA")


@register("tokenizer", "korean")
class KoreanTokenizer(MorphemeTokenizer):
    """Korean morphemes, by kiwipiepy; other scripts become words.

    Parts of speech: https://github.com/bab2min/kiwipiepy#품사-태그.

    Args:
        tags: whether to write the part of speech after each morpheme, as in `영화/NNG`.
        only: first letters of the parts of speech to keep, as [N, V, M] for nouns, verbs and adjectives, adverbs.
        stems: whether to write verbs and adjectives as in a dictionary (`재미있다`), without their endings.
    """

    name: ClassVar[str] = "korean"
    library: ClassVar[str] = "kiwipiepy"

    def __init__(
        self, *, tags: bool = False, only: tuple[str, ...] = (), stems: bool = False, **options: Inherited
    ) -> None:
        super().__init__(tags=tags, only=only, **options)
        self.stems = stems

    def check_only(self, prefix: str) -> None:
        if not prefix or not prefix.isupper():
            problem = "must hold the first letters of parts of speech, in capitals"
            remedy = "write [N, V, M] for nouns, verbs and adjectives, adverbs"
            raise UserError("E-choice", f"tokenizer.only={[prefix]}", problem, remedy)

    def analyse(self, texts: Sequence[str]) -> Iterator[Morphemes]:
        """The morphemes of every text with their parts of speech, in order, cut in several threads."""
        for tokens in self.kiwi().tokenize(SURROGATES.sub("\ufffd", text) for text in texts):
            yield tuple((token.form, token.tag) for token in tokens)

    def form(self, form: str, speech: str) -> str:
        """The form, with `stems` that of a dictionary; endings are then left out."""
        if not self.stems:
            return form
        return "" if speech.startswith(ENDINGS) else f"{form}다" if speech.startswith(STEMS) else form

    def decode(self, pieces: Sequence[str]) -> str:
        """The morphemes joined to words by Kiwi's rules; with spaces between them where some were left out."""
        if self.stems or self.only:
            return super().decode(pieces)
        used = self.untagged(pieces)
        try:
            joined: str = self.kiwi().join([(form, speech or self.speech.get(form, UNTAGGED)) for form, speech in used])
        except (RuntimeError, ValueError):  # a model may say anything
            return super().decode(pieces)
        return joined

    def kiwi(self) -> Any:
        """The one Kiwi of this process."""
        self.version()
        return load_kiwi()


@functools.cache
def load_kiwi() -> Any:
    """Kiwi, whose model takes seconds to load."""
    import kiwipiepy

    return kiwipiepy.Kiwi(load_multi_dict=False)  # whose entries have spaces in them
