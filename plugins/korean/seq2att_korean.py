"""Korean text as morphemes, cut by kiwipiepy (https://github.com/bab2min/kiwipiepy): no Java.

`영화가 재미있었어요` becomes `영화 가 재미있 었 어요`: noun, particle, stem, past tense, ending.
"""

from __future__ import annotations

import collections
import functools
import importlib.metadata
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from seq2att import Size, UserError, register
from seq2att.tokenizer import CountingTokenizer, Vocabulary, chunks

MAX_CACHED = 1 << 18  # texts whose morphemes are kept from `fit`, because they are encoded right after it
MARK = "/"  # between a morpheme and its part of speech
UNTAGGED = "NNP"  # how a morpheme is joined that no training text has
ENDINGS = "E"
SURROGATES = re.compile("[\ud800-\udfff]")  # halves of a character, which Kiwi refuses

Morphemes = tuple[tuple[str, str], ...]  # each with its part of speech


@register("tokenizer", "korean")
class KoreanTokenizer(CountingTokenizer):
    """Korean morphemes, by kiwipiepy; other scripts become words.

    Parts of speech: https://github.com/bab2min/kiwipiepy#품사-태그.

    Args:
        size: size of the vocabulary, the four special tokens included; null for all morphemes.
        min_count: number of times that a morpheme must occur in training.
        tags: whether to write the part of speech after each morpheme, as in `영화/NNG`.
        only: first letters of the parts of speech to keep, as [N, V, M] for nouns, verbs and adjectives, adverbs.
        stems: whether to write verbs and adjectives as in a dictionary (`재미있다`), without their endings.
    """

    def __init__(
        self,
        *,
        size: Vocabulary | None = None,
        min_count: Size = 1,
        tags: bool = False,
        only: tuple[str, ...] = (),
        stems: bool = False,
    ) -> None:
        super().__init__(size, min_count)
        if not all(prefix and prefix.isupper() for prefix in only):
            problem = "must hold the first letters of parts of speech, in capitals"
            remedy = "write [N, V, M] for nouns, verbs and adjectives, adverbs"
            raise UserError("E-choice", f"tokenizer.only={list(only)}", problem, remedy)
        self.tags, self.only, self.stems = tags, tuple(only), stems
        self.speech: dict[str, str] = {}  # the most frequent part of speech of each piece
        self.cache: dict[str, Morphemes] = {}

    def fit(self, texts: Iterable[str]) -> None:
        """Keep the most frequent pieces, and note how each is used."""
        counts: collections.Counter[str] = collections.Counter()
        uses: collections.Counter[tuple[str, str]] = collections.Counter()
        self.cache.clear()
        for chunk in chunks(texts):
            for text, morphemes in zip(chunk, analyse(chunk), strict=True):
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
        """The morphemes of every text, in order, in several threads."""
        cached = [self.cache.pop(text, None) for text in texts]
        analysed = analyse([text for text, morphemes in zip(texts, cached, strict=True) if morphemes is None])
        return [self.select(next(analysed) if morphemes is None else morphemes) for morphemes in cached]

    def select(self, morphemes: Morphemes) -> list[str]:
        """The pieces of morphemes that the options select."""
        pieces = []
        for form, speech in morphemes:
            if (self.stems and speech.startswith(ENDINGS)) or (self.only and not speech.startswith(self.only)):
                continue
            written = f"{form}다" if self.stems and speech.startswith(("V", "XSV", "XSA")) else form
            pieces.append(f"{written}{MARK}{speech}" if self.tags else written)
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        """The morphemes joined to words by Kiwi's rules; with spaces between them where some were left out."""
        used = [piece.rpartition(MARK)[::2] if self.tags and MARK in piece else (piece, None) for piece in pieces]
        if self.stems or self.only:
            return " ".join(form for form, _ in used)
        try:
            joined: str = kiwi().join([(form, speech or self.speech.get(form, UNTAGGED)) for form, speech in used])
        except (RuntimeError, ValueError):  # a model may say anything
            return " ".join(form for form, _ in used)
        return joined

    def files(self) -> dict[str, bytes]:
        """The pieces, how each is used, and the version of Kiwi that cut them."""
        learned = {"kiwipiepy": version(), "speech": self.speech}
        return {**super().files(), "speech.json": json.dumps(learned, indent=0, sort_keys=True).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Read the pieces; warns about another version of Kiwi, which may split texts differently."""
        super().restore(files)
        learned = json.loads(files["speech.json"])
        self.speech = learned["speech"]
        if learned["kiwipiepy"] != version():
            logging.getLogger("seq2att").warning(
                "tokenizer=korean: the vocabulary was made with kiwipiepy %s, this is %s, which may split texts "
                "differently; run pip install kiwipiepy==%s",
                *(learned["kiwipiepy"], version(), learned["kiwipiepy"]),
            )


def analyse(texts: Sequence[str]) -> Iterator[Morphemes]:
    """The morphemes of every text with their parts of speech, in order."""
    for tokens in kiwi().tokenize(SURROGATES.sub("\ufffd", text) for text in texts):
        yield tuple((token.form, token.tag) for token in tokens)


@functools.cache
def kiwi() -> Any:
    """The one Kiwi of this process: its model takes seconds to load."""
    version()
    import kiwipiepy

    return kiwipiepy.Kiwi(load_multi_dict=False)  # whose entries have spaces in them


def version() -> str:
    """The version of Kiwi."""
    try:
        return importlib.metadata.version("kiwipiepy")
    except importlib.metadata.PackageNotFoundError as error:
        problem = "needs the package kiwipiepy, which is not installed"
        raise UserError("E-package", "tokenizer=korean", problem, "run pip install kiwipiepy") from error
