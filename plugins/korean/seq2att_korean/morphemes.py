"""What tokenizers that cut a text into morphemes have in common: a selection, a vocabulary, how each piece is used."""

from __future__ import annotations

import collections
import importlib.metadata
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from seq2att import Size, UserError
from seq2att.tokenizer import CountingTokenizer, Unknown, Vocabulary, chunks

MAX_CACHED = 1 << 18  # texts whose morphemes are kept from `fit`, because they are encoded right after it
MARK = "/"  # between a morpheme and its part of speech
SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character, which no analyser takes

Morphemes = tuple[tuple[str, str], ...]  # each with its part of speech


class MorphemeTokenizer(CountingTokenizer):
    """A tokenizer whose pieces are morphemes; a subclass writes `analyse` and `check_only`.

    Args:
        size: size of the vocabulary, the four special tokens included; null for all morphemes.
        min_count: number of times that a morpheme must occur in training.
        unknown: `keep` morphemes that the vocabulary does not have, as `<unk>`, or `drop` them.
        tags: whether to write the part of speech after each morpheme.
        only: the parts of speech of the morphemes to keep; all of them where it is empty.
        stop_words: morphemes that are removed, as they are written without their part of speech.
    """

    name: ClassVar[str]  # of the tokenizer
    library: ClassVar[str]  # the package that cuts

    def __init__(
        self,
        *,
        size: Vocabulary | None = None,
        min_count: Size = 1,
        unknown: Unknown = "keep",
        tags: bool = False,
        only: tuple[str, ...] = (),
        stop_words: tuple[str, ...] = (),
    ) -> None:
        super().__init__(size, min_count, unknown)
        for prefix in only:
            self.check_only(prefix)
        self.tags, self.only, self.stop_words = tags, tuple(only), frozenset(stop_words)
        self.speech: dict[str, str] = {}  # the most frequent part of speech of each piece
        self.cache: dict[str, Morphemes] = {}

    def check_only(self, prefix: str) -> None:
        """Raise UserError for what `only` cannot hold."""
        raise NotImplementedError

    def analyse(self, texts: Sequence[str]) -> Iterator[Morphemes]:
        """The morphemes of every text with their parts of speech, in order."""
        raise NotImplementedError

    def is_kept(self, speech: str) -> bool:
        """Whether `only` names a part of speech."""
        return speech.startswith(self.only)

    def form(self, form: str, speech: str) -> str:
        """How a morpheme is written, empty where it is left out."""
        return form

    def fit(self, texts: Iterable[str]) -> None:
        """Keep the most frequent pieces, and note how each is used."""
        counts: collections.Counter[str] = collections.Counter()
        uses: collections.Counter[tuple[str, str]] = collections.Counter()
        self.cache.clear()
        for chunk in chunks(texts):
            for text, morphemes in zip(chunk, self.analyse(chunk), strict=True):
                counts.update(self.select(morphemes))
                uses.update(morphemes)
                if len(self.cache) < MAX_CACHED:
                    self.cache[text] = morphemes
        self.set_vocabulary(counts)
        order = sorted(uses.items(), key=lambda use: (use[1], use[0]))  # of each piece, the most frequent comes last
        vocabulary = set(self.pieces)
        self.speech = {piece: speech for (piece, speech), _ in order if piece in vocabulary}

    def encode(self, text: str) -> list[str]:
        """The morphemes."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[str]]:
        """The morphemes of every text, in order."""
        cached = [self.cache.pop(text, None) for text in texts]
        analysed = self.analyse([text for text, morphemes in zip(texts, cached, strict=True) if morphemes is None])
        return [self.select(next(analysed) if morphemes is None else morphemes) for morphemes in cached]

    def select(self, morphemes: Morphemes) -> list[str]:
        """The pieces of morphemes that the options select."""
        pieces = []
        for form, speech in morphemes:
            written = self.form(form, speech)
            if written and (not self.only or self.is_kept(speech)) and written not in self.stop_words:
                pieces.append(f"{written}{MARK}{speech}" if self.tags else written)
        return pieces

    def untagged(self, pieces: Sequence[str]) -> list[tuple[str, str | None]]:
        """The form of every piece, and its part of speech where it is written."""
        return [piece.rpartition(MARK)[::2] if self.tags and MARK in piece else (piece, None) for piece in pieces]

    def decode(self, pieces: Sequence[str]) -> str:
        """The morphemes with spaces between them."""
        return " ".join(form for form, _ in self.untagged(pieces))

    def files(self) -> dict[str, bytes]:
        """The pieces, how each is used, and the version of the library that cut them."""
        learned = {self.library: self.version(), "speech": self.speech}
        return {**super().files(), "speech.json": json.dumps(learned, indent=0, sort_keys=True).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Read the pieces; warns about another version of the library, which may split texts differently."""
        super().restore(files)
        learned = json.loads(files["speech.json"])
        self.speech = learned["speech"]
        if learned[self.library] != self.version():
            logging.getLogger("seq2att").warning(
                "tokenizer=%s: the vocabulary was made with %s %s, this is %s, which may split texts differently; "
                "run pip install %s==%s",
                *(self.name, self.library, learned[self.library], self.version(), self.library, learned[self.library]),
            )

    @classmethod
    def version(cls) -> str:
        """The version of the library; raises `E-package` where it is not installed."""
        try:
            return importlib.metadata.version(cls.library)
        except importlib.metadata.PackageNotFoundError as error:
            problem = f"needs the package {cls.library}, which is not installed"
            raise UserError("E-package", f"tokenizer={cls.name}", problem, f"run pip install {cls.library}") from error
