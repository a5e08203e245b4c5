"""Handwritten digits, one or several side by side in a picture: to be read out, or marked column by column of pixels.

The 1,797 images of 8 x 8 pixels come with scikit-learn (Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten
Digits"). A strip as a file, which the commands take:

    from seq2att.registry import load_plugin, build
    load_plugin("recipes/digits.py")
    row = next(build("reader", {"reader": {"name": "digits", "shortest": 3}}).read("test", None))
    open("strip.png", "wb").write(row.values[0])
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.files.picture import check_pillow
from seq2att.reader import SPLITS, Reader, Row, digest
from seq2att.registry import Range, Seed, register, suggestion

VALIDATION, TEST = 180, 360  # images; the other 1,257 are for training
HEIGHT = 8  # pixels of a strip, and the width of a digit
WHITE = 255
GAP = "-"  # its tag
LONGEST = 20
Length = Annotated[int, Range(1, LONGEST)]
"""Digits of a strip."""


class Image(NamedTuple):
    """One digit."""

    pixels: npt.NDArray[np.uint8]  # [8, 8], black on white
    digit: int


@register("reader", "digits")
class Digits(Reader):
    """Strips of handwritten digits; the source is a picture, the target words, or a tag for each column of pixels.

    Args:
        target: the target of a strip: its digits in words, or a tag for each column.
        language: the language of the words, as num2words names it (en, ko, fr, ...).
        shortest: digits of the shortest strip.
        longest: digits of the longest strip.
        gap: blank columns around each digit, at most so many.
        repeats: training strips that each image begins, for each length.
        shift: pixels by which a digit of a training strip stands higher or lower at most.
        seed: the seed of the strips; no seed moves an image to another split.
    """

    names_data = False

    def __init__(
        self,
        *,
        target: Literal["words", "tags"] = "words",
        language: str = "en",
        shortest: Length = 1,
        longest: Length = 4,
        gap: Annotated[int, Range(0, 100)] = 0,
        repeats: Annotated[int, Range(1, 1000)] = 1,
        shift: Annotated[int, Range(0, HEIGHT - 1)] = 0,
        seed: Seed = 1,
    ) -> None:
        self.target, self.language, self.seed = target, language, seed
        self.shortest, self.longest, self.gap, self.repeats, self.shift = shortest, longest, gap, repeats, shift
        self.lengths = dict.fromkeys(SPLITS, (shortest, longest))
        if shortest > longest:
            problem, remedy = f"must be at most reader.longest={longest}", f"set reader.shortest={longest}"
            raise UserError("E-size", f"reader.shortest={shortest}", problem, remedy)

    def check(self, root: Path | None) -> None:
        check_pillow("reader=digits")
        needed = {"sklearn": "scikit-learn"} | ({"num2words": "num2words"} if self.target == "words" else {})
        for module, package in needed.items():
            if find_spec(module) is None:
                problem, remedy = f"the package {package} is not installed", "run pip install 'seq2att[recipes]'"
                raise UserError("E-package", "reader=digits", problem, remedy)
        if self.target == "words":
            self.words()

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def use(self, split: str, name: str) -> None:
        """Strips of exactly so many digits: `seq2att evaluate RUN --test 1 2 3`."""
        if not name.isdigit() or not 1 <= int(name) <= LONGEST:
            problem = f"must be the number of digits in a strip, 1 to {LONGEST}"
            raise UserError("E-size", f"{split}={name}", problem)
        self.lengths[split] = (int(name), int(name))

    def words(self) -> list[str]:
        """The words of the ten digits."""
        from num2words import CONVERTER_CLASSES, num2words

        if self.language not in CONVERTER_CLASSES:
            subject, remedy = f"reader.language={self.language}", suggestion(self.language, CONVERTER_CLASSES)
            raise UserError("E-choice", subject, "num2words has no such language", remedy)
        return [" ".join(str(num2words(digit, lang=self.language)).split()) for digit in range(10)]

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        names = self.words() if self.target == "words" else [str(digit) for digit in range(10)]
        draw, images, line = random.Random(f"{self.seed} {split}"), images_of(split), 0
        shortest, longest = self.lengths[split]
        for length in range(shortest, longest + 1):
            for _ in range(self.repeats if split == "train" else 1):
                draw.shuffle(images)
                for start in range(len(images)):
                    line += 1
                    chosen = [images[(start + step) % len(images)] for step in range(length)]
                    if split == "train" and self.shift:
                        chosen = [moved(image, draw.randint(-self.shift, self.shift)) for image in chosen]
                    yield Row(self.strip(chosen, names, draw), f"digits-{split}", line)

    def strip(self, images: list[Image], names: list[str], draw: random.Random) -> tuple[Any, str]:
        """The images side by side, and what there is to say of them."""
        parts, tags = [], []
        for place, image in enumerate(images):
            before, after = draw.randint(0, self.gap), draw.randint(0, self.gap) * (place == len(images) - 1)
            parts.append(np.pad(image.pixels, ((0, 0), (before, after)), constant_values=WHITE))
            tags += [GAP] * before + [names[image.digit]] * HEIGHT + [GAP] * after
        words = " ".join(names[image.digit] for image in images)
        return png(np.concatenate(parts, 1)), words if self.target == "words" else " ".join(tags)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, split, [])


def moved(image: Image, rows: int) -> Image:
    """The digit so many pixels lower, or higher where `rows` is below 0; what leaves the image is lost."""
    above, below = max(rows, 0), max(-rows, 0)
    pixels = np.pad(image.pixels, ((above, below), (0, 0)), constant_values=WHITE)
    return Image(pixels[below : below + HEIGHT], image.digit)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A grey picture `[H, W]` as the bytes of a PNG file."""
    from PIL import Image as Pillow

    content = io.BytesIO()
    Pillow.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def images_of(split: str) -> list[Image]:
    """The images of a split, always the same."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.round(WHITE * (1 - data.images / 16)).astype(np.uint8)  # [1797, 8, 8]
    images = [Image(*pair) for pair in zip(pixels, data.target.tolist(), strict=True)]
    random.Random(0).shuffle(images)
    parts = (images[VALIDATION + TEST :], images[:VALIDATION], images[VALIDATION : VALIDATION + TEST])
    return dict(zip(SPLITS, parts, strict=True))[split]
