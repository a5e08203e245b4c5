"""Tokenizers: split text into the pieces of a vocabulary, and join pieces to text."""

from __future__ import annotations

import collections
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from seq2att.errors import UserError
from seq2att.files.untrusted import COPY, as_names, parse_json
from seq2att.registry import Range, Size, kind, register
from seq2att.types import BEGIN, END, PAD, SPECIALS, UNKNOWN

NUM_THREADS = 4  # fixed: sentencepiece sums floats per thread, so the pieces depend on the number
CHUNK = 4096  # texts that are counted together
MIN_THREADED = 16  # texts; with fewer, starting threads takes longer than it saves
MAX_LINE_BYTES = 1 << 20  # sentencepiece silently skips longer training lines (default: 4,192)
Vocabulary = Annotated[int, Range(len(SPECIALS) + 1)]
"""Entries of a vocabulary: the special tokens, and at least one piece."""
NumSpecials = Annotated[int, Range(0, len(SPECIALS))]
"""How many of the special tokens a size counts."""
Unknown = Literal["keep", "drop"]
"""What becomes of a piece that the vocabulary does not have."""


@kind("tokenizer")
class Tokenizer:
    """Splits text into the pieces of a vocabulary."""

    pieces: tuple[str, ...] = ()
    """The vocabulary without the four special tokens, fixed by `fit` or `restore`: piece i has the id i + 4."""
    drops_unknown: bool = False
    """Whether a field leaves out the pieces that the vocabulary does not have, rather than encode them as `<unk>`."""

    def fit(self, texts: Iterable[str]) -> None:
        """Learn the pieces from training texts, which can be read once; raises UserError if it cannot."""
        raise NotImplementedError

    def encode(self, text: str) -> list[str]:
        """The pieces of a text; a piece that the vocabulary does not have is returned as it is written."""
        raise NotImplementedError

    def encode_batch(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of every text, in order; equal to `encode` of each."""
        return [self.encode(text) for text in texts]

    def encode_ids(self, texts: Sequence[str]) -> Sequence[Sequence[int]] | None:
        """The ids of every text's pieces, in order, if the tokenizer computes them itself; None: use `encode_batch`."""
        return None

    def decode(self, pieces: Sequence[str]) -> str:
        """The text of pieces."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """What `fit` has learned, as files of a bundle: text, JSON or a model, never a pickle."""
        raise NotImplementedError

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Become the tokenizer that wrote these files."""
        raise NotImplementedError


class CountingTokenizer(Tokenizer):
    """A tokenizer whose vocabulary is the most frequent pieces of `encode`; a subclass writes `encode` and `decode`.

    Args:
        size: entries of the vocabulary; None for all.
        min_count: number of times that a piece must occur in training.
        unknown: `keep` pieces that the vocabulary does not have as `<unk>`, or `drop` them.
        specials: how many of the four special tokens `size` counts.
    """

    def __init__(self, size: int | None, min_count: int, unknown: Unknown = "keep", specials: NumSpecials = 4) -> None:
        self.size, self.min_count, self.specials = size, min_count, specials
        self.drops_unknown = unknown == "drop"

    def fit(self, texts: Iterable[str]) -> None:
        """Keep the most frequent pieces, equally frequent ones by code point: the order of texts does not matter."""
        counts: collections.Counter[str] = collections.Counter()
        for chunk in chunks(texts):
            for pieces in self.encode_batch(chunk):
                counts.update(pieces)
        self.set_vocabulary(counts)

    def set_vocabulary(self, counts: collections.Counter[str]) -> None:
        """Make the most frequent pieces the vocabulary."""
        if not counts:
            raise self.no_pieces()
        frequent = sorted((-count, piece) for piece, count in counts.items() if count >= self.min_count)
        if not frequent:
            problem = f"leaves no piece, because the most frequent one occurs {max(counts.values())} times"
            raise UserError("E-vocabulary", f"tokenizer.min_count={self.min_count}", problem, "set a smaller one")
        limit = None if self.size is None else self.size - self.specials
        self.pieces = tuple(piece for _, piece in frequent[:limit])

    def no_pieces(self) -> UserError:
        """The error about training texts without a piece."""
        return no_text()

    def files(self) -> dict[str, bytes]:
        """The pieces as JSON, one on a line."""
        return {"pieces.json": json.dumps(self.pieces, ensure_ascii=True, indent=0).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Read the pieces from `pieces.json`."""
        self.pieces = as_names(parse_json(files["pieces.json"], "pieces.json"), "pieces.json")


@register("tokenizer", "word")
class WordTokenizer(CountingTokenizer):
    r"""Words between white space, or the matches of a pattern; other words are `<unk>`.

    Args:
        size: size of the vocabulary, `specials` special tokens included; null for all words.
        specials: how many of the four special tokens (`<pad>`, `<unk>`, `<s>`, `</s>`) `size` counts: 4 as in Keras'
            `imdb.load_data(num_words=size)`, 2 as in `TextVectorization(max_tokens=size)`, 1 as in
            `Tokenizer(num_words=size)`, where 3,000 are 2,999 words; 0 counts words only.
        min_count: number of times that a word must occur in training.
        unknown: `keep` words that the vocabulary does not have, as `<unk>`, or `drop` them, as Keras' `Tokenizer`.
        lower: whether to convert text to lower case.
        pattern: regular expression of one word, as `[^\W\d_]+` for letters; empty for words between white space.
        stop_words: words that are removed before counting; with `lower`, in any case.
    """

    def __init__(
        self,
        *,
        size: Vocabulary | None = None,
        specials: NumSpecials = 4,
        min_count: Size = 1,
        unknown: Unknown = "keep",
        lower: bool = False,
        pattern: str = "",
        stop_words: tuple[str, ...] = (),
    ) -> None:
        super().__init__(size, min_count, unknown, specials)
        try:
            self.pattern = re.compile(pattern) if pattern else None
        except re.error as error:
            problem = f"is not a regular expression ({error})"
            raise UserError("E-syntax", f"tokenizer.pattern={pattern!r}", problem) from error
        self.lower = lower
        self.stop_words = frozenset(word.lower() if lower else word for word in stop_words)

    def encode(self, text: str) -> list[str]:
        """The words in order, without stop words."""
        if self.lower:
            text = text.lower()
        if self.pattern is None:
            words = text.split()
        else:
            words = [match[0] for match in self.pattern.finditer(text) if match[0]]
        return [word for word in words if word not in self.stop_words] if self.stop_words else words

    def decode(self, pieces: Sequence[str]) -> str:
        """The words with one space between them."""
        return " ".join(pieces)

    def no_pieces(self) -> UserError:
        """The error about training texts without a word."""
        if self.pattern is None and not self.stop_words:
            return no_text()
        subject = "tokenizer.stop_words" if self.pattern is None else f"tokenizer.pattern={self.pattern.pattern!r}"
        problem = f"leaves no word of the training texts ({len(self.stop_words)} stop words)"
        return UserError("E-vocabulary", subject, problem, "correct it, or check the files that the reader names")


@register("tokenizer", "char")
class CharTokenizer(CountingTokenizer):
    """Single Unicode characters, spaces included.

    Args:
        min_count: number of times that a character must occur in training.
        unknown: `keep` characters that the vocabulary does not have, as `<unk>`, or `drop` them.
        lower: whether to convert text to lower case.
    """

    def __init__(self, *, min_count: Size = 1, unknown: Unknown = "keep", lower: bool = False) -> None:
        super().__init__(None, min_count, unknown)
        self.lower = lower

    def encode(self, text: str) -> list[str]:
        """The characters."""
        return list(text.lower() if self.lower else text)

    def decode(self, pieces: Sequence[str]) -> str:
        """The text of the characters."""
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
        """The bytes; those that cannot be printed are written as `<0x20>`."""
        return [BYTE_PIECES[byte] for byte in text.encode("utf-8", "surrogatepass")]

    def decode(self, pieces: Sequence[str]) -> str:
        """The text of the bytes; bytes that are not valid UTF-8 become U+FFFD."""
        text = bytearray()
        for piece in pieces:
            text += bytes([BYTE_VALUES[piece]]) if piece in BYTE_VALUES else piece.encode("utf-8", "surrogatepass")
        try:
            return text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return text.decode("utf-8", "replace")

    def files(self) -> dict[str, bytes]:
        """No files."""
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Nothing to restore."""


SPACE = "\u2581"  # sentencepiece writes a space so; in a text it is escaped
ESCAPE = "\U000f0000"  # private use; a reserved character is written ESCAPE, its number in hexadecimal, ESCAPE
RESERVED = re.compile(f"[\0{SPACE}\u2585{ESCAPE}\ud800-\udfff]")  # NUL and U+2585 make sentencepiece skip the line
ESCAPED = re.compile(f"{ESCAPE}([0-9a-f]+){ESCAPE}")


@register("tokenizer", "sentencepiece")
class SentencePieceTokenizer(Tokenizer):
    """Subword pieces learned by sentencepiece (Kudo and Richardson 2018); spaces are part of pieces, nothing is lost.

    Args:
        size: size of the vocabulary, the four special tokens included.
        model: `unigram` (Kudo 2018) or `bpe` (Sennrich et al. 2016).
        coverage: share of the characters of the training text that become pieces.
        sample: largest number of training lines to learn from, drawn at random; each takes about 2 kB of memory.
    """

    def __init__(
        self,
        *,
        size: Vocabulary = 8000,
        model: Literal["unigram", "bpe"] = "unigram",
        coverage: Annotated[float, Range(0.98, 1)] = 1.0,
        sample: Annotated[int, Range(101)] = 200_000,
    ) -> None:
        self.size = size
        self.model = model
        self.coverage = coverage
        self.sample = sample
        self.processor: Any = None

    def fit(self, texts: Iterable[str]) -> None:
        """Train the sentencepiece model; the same texts give the same model."""
        import sentencepiece

        sentencepiece.set_random_generator_seed(1)  # for drawing `sample` lines
        lines = TrainingLines(texts)
        try:
            self.restore({"tokenizer.model": self.train(lines)})
        except RuntimeError as error:
            if lines.error is not None:
                raise lines.error from None
            raise self.explain(str(error)) from error

    def train(self, lines: TrainingLines) -> bytes:
        """The sentencepiece model of these lines; raises RuntimeError if sentencepiece refuses."""
        import sentencepiece

        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=self.model,
            vocab_size=self.size,
            character_coverage=self.coverage,
            input_sentence_size=self.sample,
            max_sentence_length=MAX_LINE_BYTES,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            num_threads=NUM_THREADS,
            minloglevel=2,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            pad_piece=f"{ESCAPE}pad",  # no escaped text contains these names
            unk_piece=f"{ESCAPE}unk",
            bos_piece=f"{ESCAPE}bos",
            eos_piece=f"{ESCAPE}eos",
        )
        return model.getvalue()

    def explain(self, message: str) -> UserError:
        """The error about a training that sentencepiece refuses."""
        largest = re.search(r"too high \(\d+\).*<= (\d+)", message)
        smallest = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
        subject = f"tokenizer.size={self.size}"
        if largest:
            problem = f"is too large for the training text, which allows at most {largest[1]}"
            return UserError("E-vocabulary", subject, problem, f"set {largest[1]} or less")
        if smallest:
            problem = f"is too small for the characters of the training text, which need at least {smallest[1]}"
            return UserError("E-vocabulary", subject, problem, f"set {smallest[1]} or more, or a smaller coverage")
        if "sentences_.empty()" in message:
            return no_text()
        return UserError("E-vocabulary", "tokenizer=sentencepiece", f"cannot learn from the training text: {message}")

    def encode(self, text: str) -> list[str]:
        """The pieces of a text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of every text, in order."""
        pieces: list[list[str]] = self.process(texts, str)
        return pieces

    def encode_ids(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        """The ids of sentencepiece, which `train` makes equal to ours."""
        ids: list[list[int]] = self.process(texts, int)
        return ids

    def process(self, texts: Sequence[str], kind: type) -> Any:
        """The pieces (str) or ids (int) of every text, in threads of sentencepiece."""
        escaped = list(map(escape, texts))
        if len(texts) < MIN_THREADED:
            return [self.processor.encode(text, out_type=kind) for text in escaped]
        return self.processor.encode(escaped, out_type=kind, num_threads=NUM_THREADS)

    def decode(self, pieces: Sequence[str]) -> str:
        """The text without the leading space, which sentencepiece adds."""
        text = "".join(pieces).replace(SPACE, " ").removeprefix(" ")
        return ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if ESCAPE in text else text

    def files(self) -> dict[str, bytes]:
        """The sentencepiece model."""
        return {"tokenizer.model": self.processor.serialized_model_proto()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Read the sentencepiece model from `tokenizer.model`."""
        import sentencepiece

        try:
            processor = sentencepiece.SentencePieceProcessor(model_proto=files["tokenizer.model"])
        except RuntimeError as error:
            raise UserError("E-bundle", "tokenizer.model", "is not a model of sentencepiece", COPY) from error
        specials = processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()
        if specials != (PAD, UNKNOWN, BEGIN, END):
            raise UserError("E-bundle", "tokenizer.model", "has other special tokens than seq2att", COPY)
        self.processor = processor
        ids = range(len(SPECIALS), processor.get_piece_size())
        self.pieces = tuple(processor.id_to_piece(list(ids)))


def chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists of at most `CHUNK`."""
    remaining = iter(texts)
    while chunk := list(itertools.islice(remaining, CHUNK)):
        yield chunk


class TrainingLines:
    """Escaped training texts for sentencepiece; keeps an error of their source, which sentencepiece would hide."""

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
    """The text with the characters escaped that sentencepiece reserves; `decode` restores them."""
    return RESERVED.sub(lambda match: f"{ESCAPE}{ord(match[0]):x}{ESCAPE}", text)


def no_text() -> UserError:
    """The error about training texts that are all empty."""
    problem = "the training rows have no text to learn a vocabulary from"
    return UserError("E-vocabulary", "tokenizer", problem, "check the files that the reader names")
