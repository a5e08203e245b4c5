"""Tokenizers: how a text becomes pieces, and how pieces become the text again."""

from __future__ import annotations

import collections
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from seq2att.errors import UserError
from seq2att.registry import kind, register
from seq2att.types import BEGIN, END, PAD, SPECIALS, UNKNOWN

THREADS = 4  # sentencepiece adds up floats per thread: were it the machine's number, the pieces would depend on it
AT_ONCE = 4096  # texts that a vocabulary is counted from at once
FEW_TEXTS = 16  # that sentencepiece cuts sooner one by one than by starting threads
LONGEST_LINE = 1 << 20  # in bytes; sentencepiece silently skips training lines that are longer (by its default: 4,192)


@kind("tokenizer")
class Tokenizer:
    """Cuts text into the pieces of a vocabulary.

    `pieces` is the vocabulary without the four special tokens, fixed by `fit` or `restore`: piece i has the id i + 4.
    """

    pieces: tuple[str, ...] = ()

    def fit(self, texts: Iterable[str]) -> None:
        """Learn the pieces from training texts, read once; `UserError` when they cannot give such a vocabulary."""
        raise NotImplementedError

    def encode(self, text: str) -> list[str]:
        """The text as pieces; what the vocabulary does not know stays as it is written."""
        raise NotImplementedError

    def encode_batch(self, texts: Sequence[str]) -> list[list[str]]:
        """Every text as pieces, in order."""
        return [self.encode(text) for text in texts]

    def encode_ids(self, texts: Sequence[str]) -> Sequence[Sequence[int]] | None:
        """The ids of every text's pieces, in order, where the tokenizer has them at hand; None: take `encode_batch`."""
        return None

    def decode(self, pieces: Sequence[str]) -> str:
        """The text that the pieces are cut from."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """What was learned, as files of a bundle: text, JSON or a model, never a pickle."""
        raise NotImplementedError

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Become the tokenizer that wrote these files."""
        raise NotImplementedError


class CountingTokenizer(Tokenizer):
    """A tokenizer whose vocabulary is what `encode` gives often enough; a subclass writes `encode` and `decode`."""

    def __init__(self, size: int | None, min_count: int) -> None:
        if size is not None and size <= len(SPECIALS):
            raise UserError(no_room(size))
        self.size = size
        self.min_count = min_count

    def fit(self, texts: Iterable[str]) -> None:
        """Keep the most frequent pieces; among equally frequent ones, by code point: row order does not matter."""
        counts: collections.Counter[str] = collections.Counter()
        for part in parts(texts):
            for pieces in self.encode_batch(part):
                counts.update(pieces)
        self.keep(counts)

    def keep(self, counts: collections.Counter[str]) -> None:
        """Make the most frequent pieces the vocabulary."""
        if not counts:
            raise UserError(self.nothing())
        often = sorted((-count, piece) for piece, count in counts.items() if count >= self.min_count)
        if not often:
            raise UserError(
                f"tokenizer: min_count={self.min_count} leaves no piece, the most frequent one occurs "
                f"{max(counts.values())} times; lower source.tokenizer.min_count (or target's)"
            )
        kept = None if self.size is None else self.size - len(SPECIALS)
        self.pieces = tuple(piece for _, piece in often[:kept])

    def nothing(self) -> str:
        """What to say when no training text has a piece."""
        return no_text()

    def files(self) -> dict[str, bytes]:
        """The pieces as JSON (a piece may hold line ends), one a line."""
        return {"pieces.json": json.dumps(self.pieces, ensure_ascii=True, indent=0).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Take the pieces from `pieces.json`."""
        self.pieces = tuple(json.loads(files["pieces.json"]))


@register("tokenizer", "word")
class WordTokenizer(CountingTokenizer):
    r"""Words between white space, or what `pattern` finds.

    `size` is the largest vocabulary: the most frequent words and the special tokens, of which `<pad>` is 0 and `<unk>`,
    which stands for every other word, is 1; `min_count` drops rarer words; `lower` ignores case. `pattern` is a regular
    expression of one word, such as `[^\W\d_]+` for runs of letters: what it does not find is left out.
    `stop_words` are left out too, before words are counted; with `lower` their case does not matter either.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        min_count: int = 1,
        lower: bool = False,
        pattern: str = "",
        stop_words: tuple[str, ...] = (),
    ) -> None:
        super().__init__(size, min_count)
        try:
            self.pattern = re.compile(pattern) if pattern else None
        except re.error as error:
            raise UserError(f"tokenizer: pattern={pattern!r} is no regular expression ({error}); mend it") from error
        self.lower = lower
        self.stop_words = frozenset(word.lower() if lower else word for word in stop_words)

    def encode(self, text: str) -> list[str]:
        """The words in their order, those that are no piece of the vocabulary too; no stop words."""
        if self.lower:
            text = text.lower()
        words = (
            text.split() if self.pattern is None else [found[0] for found in self.pattern.finditer(text) if found[0]]
        )
        return [word for word in words if word not in self.stop_words] if self.stop_words else words

    def decode(self, pieces: Sequence[str]) -> str:
        """The words with one space between them."""
        return " ".join(pieces)

    def nothing(self) -> str:
        """What to say when no training text has a word."""
        if self.pattern is None and not self.stop_words:
            return no_text()
        pattern = "" if self.pattern is None else f"pattern={self.pattern.pattern!r} and "
        return (
            f"tokenizer: {pattern}{len(self.stop_words)} stop_words leave no word of the training texts; "
            f"mend source.tokenizer (or target's), or check the files that the reader names"
        )


@register("tokenizer", "char")
class CharTokenizer(CountingTokenizer):
    """Single Unicode characters, spaces included.

    `min_count` drops rarer characters; `lower` ignores case.
    """

    def __init__(self, *, min_count: int = 1, lower: bool = False) -> None:
        super().__init__(None, min_count)
        self.lower = lower

    def encode(self, text: str) -> list[str]:
        """The characters."""
        return list(text.lower() if self.lower else text)

    def decode(self, pieces: Sequence[str]) -> str:
        """The characters side by side."""
        return "".join(pieces)


BYTE_PIECES = tuple(chr(byte) if 33 <= byte < 127 else f"<0x{byte:02X}>" for byte in range(256))
BYTE_VALUES = {piece: byte for byte, piece in enumerate(BYTE_PIECES)}


@register("tokenizer", "byte")
class ByteTokenizer(Tokenizer):
    """The 256 bytes of UTF-8: nothing is ever unknown."""

    pieces = BYTE_PIECES

    def fit(self, texts: Iterable[str]) -> None:
        """Nothing to learn."""

    def encode(self, text: str) -> list[str]:
        """The bytes; those that do not print are written as `<0x20>`."""
        return [BYTE_PIECES[byte] for byte in text.encode("utf-8", "surrogatepass")]

    def decode(self, pieces: Sequence[str]) -> str:
        """The text of the bytes; bytes that are no UTF-8 (a model may say anything) become U+FFFD."""
        text = bytearray()
        for piece in pieces:
            text += bytes([BYTE_VALUES[piece]]) if piece in BYTE_VALUES else piece.encode("utf-8", "surrogatepass")
        try:
            return text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return text.decode("utf-8", "replace")

    def files(self) -> dict[str, bytes]:
        """None."""
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Nothing to restore."""


SPACE = "\u2581"  # how sentencepiece writes a space, so a text may not hold it as it is
ESCAPE = "\U000f0000"  # private use; a reserved character becomes ESCAPE, its hexadecimal number, ESCAPE
RESERVED = re.compile(f"[\0{SPACE}\u2585{ESCAPE}\ud800-\udfff]")  # NUL and U+2585 make sentencepiece skip the line
ESCAPED = re.compile(f"{ESCAPE}([0-9a-f]+){ESCAPE}")


@register("tokenizer", "sentencepiece")
class SentencePieceTokenizer(Tokenizer):
    """Subword pieces learned by sentencepiece (Kudo and Richardson 2018), which take in the spaces: nothing is lost.

    `size` is the size of the vocabulary, special tokens included; `model` is unigram (Kudo 2018) or bpe (Sennrich et
    al. 2016); `coverage` is the share of the training text's characters that become known; `sample` is the largest
    number of lines it learns from, drawn from all.
    """

    def __init__(
        self,
        *,
        size: int = 8000,
        model: Literal["unigram", "bpe"] = "unigram",
        coverage: float = 1.0,
        sample: int = 1_000_000,
    ) -> None:
        if size <= len(SPECIALS):
            raise UserError(no_room(size))
        if not 0.98 <= coverage <= 1.0:
            raise UserError(f"tokenizer: coverage={coverage} is not between 0.98 and 1; 1 makes every character known")
        if sample <= 100:
            raise UserError(f"tokenizer: sample={sample} is too little for sentencepiece; set 101 or more")
        self.size = size
        self.model = model
        self.coverage = coverage
        self.sample = sample
        self.processor: Any = None

    def fit(self, texts: Iterable[str]) -> None:
        """Train the sentencepiece model; the same texts give the same model."""
        import sentencepiece

        sentencepiece.set_random_generator_seed(1)  # which lines are drawn when there are more than `sample`
        lines = TrainingLines(texts)
        try:
            self.restore({"tokenizer.model": self.train(lines)})
        except RuntimeError as error:
            if lines.error is not None:
                raise lines.error from None
            raise UserError(self.explain(str(error))) from error

    def train(self, lines: TrainingLines) -> bytes:
        """The sentencepiece model of these lines; `RuntimeError` when there is none."""
        import sentencepiece

        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=written,
            model_type=self.model,
            vocab_size=self.size,
            character_coverage=self.coverage,
            input_sentence_size=self.sample,
            max_sentence_length=LONGEST_LINE,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            num_threads=THREADS,
            minloglevel=2,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            pad_piece=f"{ESCAPE}pad",  # names that no escaped text can hold
            unk_piece=f"{ESCAPE}unk",
            bos_piece=f"{ESCAPE}bos",
            eos_piece=f"{ESCAPE}eos",
        )
        return written.getvalue()

    def explain(self, message: str) -> str:
        """What the user can change when sentencepiece refuses to train."""
        largest = re.search(r"too high \(\d+\).*<= (\d+)", message)
        if largest:
            return (
                f"tokenizer: size={self.size} is more than the training text allows, which is {largest[1]}; "
                f"set source.tokenizer.size={largest[1]} or less (target.tokenizer.size for the target)"
            )
        least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
        if least:
            return (
                f"tokenizer: size={self.size} is less than the training text's characters take, which is {least[1]}; "
                f"set source.tokenizer.size={least[1]} or more (target.tokenizer.size for the target), or less coverage"
            )
        if "sentences_.empty()" in message:
            return no_text()
        return f"tokenizer: sentencepiece could not learn from the training text: {message}"

    def encode(self, text: str) -> list[str]:
        """The pieces."""
        pieces: list[str] = self.processor.encode(escape(text), out_type=str)
        return pieces

    def encode_batch(self, texts: Sequence[str]) -> list[list[str]]:
        """Every text as pieces, in order, in several threads."""
        if len(texts) < FEW_TEXTS:
            return super().encode_batch(texts)
        pieces: list[list[str]] = self.processor.encode(list(map(escape, texts)), out_type=str, num_threads=THREADS)
        return pieces

    def encode_ids(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        """Sentencepiece's own ids: `train` gives the special tokens the places that they have here."""
        escaped = list(map(escape, texts))
        if len(texts) < FEW_TEXTS:
            return [self.processor.encode(text, out_type=int) for text in escaped]
        ids: list[list[int]] = self.processor.encode(escaped, out_type=int, num_threads=THREADS)
        return ids

    def decode(self, pieces: Sequence[str]) -> str:
        """The text; the first space is sentencepiece's own."""
        text = "".join(pieces).replace(SPACE, " ").removeprefix(" ")
        return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if ESCAPE in text else text

    def files(self) -> dict[str, bytes]:
        """The sentencepiece model."""
        return {"tokenizer.model": self.processor.serialized_model_proto()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Take the sentencepiece model from `tokenizer.model`."""
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_proto=files["tokenizer.model"])
        ids = range(len(SPECIALS), self.processor.get_piece_size())
        self.pieces = tuple(self.processor.id_to_piece(list(ids)))


def parts(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, some thousand at once."""
    rest = iter(texts)
    while part := list(itertools.islice(rest, AT_ONCE)):
        yield part


class TrainingLines:
    """The texts as sentencepiece may see them; keeps an error of their source, which sentencepiece would hide."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = texts
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for text in self.texts:
                if text:
                    yield escape(text)
        except BaseException as error:
            self.error = error
            raise


def escape(text: str) -> str:
    """The text without the characters that sentencepiece keeps for itself; `decode` brings them back."""
    return RESERVED.sub(lambda match: f"{ESCAPE}{ord(match[0]):x}{ESCAPE}", text)


def no_room(size: int) -> str:
    """What to say when the special tokens alone fill the vocabulary."""
    return (
        f"tokenizer: size={size} leaves no room beside the {len(SPECIALS)} special tokens; "
        f"set source.tokenizer.size (or target's) to {len(SPECIALS) + 1} or more"
    )


def no_text() -> str:
    """What to say when there is nothing to learn from."""
    return "tokenizer: the training set holds no text to learn a vocabulary from; check the files that the reader names"
