"""Pictures from files that others wrote: decoded by Pillow, refused in one line where they are none, or too large.

Only regular files are opened, only formats of pixels are decoded (no PostScript), and what a file claims to hold is
compared with `MAX_PIXELS` before it is decoded. Every picture becomes eight bits of red, green and blue: it is turned
as its EXIF says, transparency is laid over white, grey is three equal colours, 16 bits are rounded to eight.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError, is_out_of_memory
from seq2att.files.untrusted import KINDS

if TYPE_CHECKING:  # Pillow is an extra
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MAX_PIXELS = 1 << 26  # of a picture: 67 million, which take 200 MB
MAX_FRAMES = 10_000  # of a video
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY"))


def check_pillow(key: str) -> None:
    """Raise `E-package` where Pillow is not installed; `key` is the setting that needs it."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        remedy = "run pip install 'seq2att[pictures]'"
        raise UserError("E-package", key, "the package Pillow is not installed", remedy) from error


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """A regular file, or a link to one; `E-file`, without waiting, for a folder, a pipe, a device, or nothing."""
    try:
        descriptor = os.open(path, FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        problem = "is a folder" if isinstance(error, PermissionError) and path.is_dir() else f"cannot be read ({why})"
        raise UserError("E-file", f"{path}", problem, "name the file of a picture") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = KINDS.get(stat.S_IFMT(mode), "no file")
        raise UserError("E-file", f"{path}", f"is {kind}, not a regular file", "name the file of a picture")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises about a damaged file into one `E-picture`, and keep its warnings quiet."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise UserError("E-picture", name, "is no picture of a known format", f"save it as one of {known}") from error
    except Image.DecompressionBombError as error:
        raise too_large(name) from error
    except Exception as error:  # the decoders raise nearly anything about bytes that are wrong
        if is_out_of_memory(error):
            raise
        problem = f"is damaged or truncated ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
        raise UserError("E-picture", name, problem, "fetch or save it again, or leave its row out") from error


def too_large(name: str, size: tuple[int, int] | None = None) -> UserError:
    """The error about a picture of too many pixels."""
    found = f", got {size[0]:,} x {size[1]:,}" if size else ""
    problem = f"must have at most {MAX_PIXELS:,} pixels{found}"
    return UserError("E-picture", name, problem, "make it smaller with a program for pictures")


@contextmanager
def open_picture(source: Path | bytes) -> Iterator[tuple[Image, str]]:
    """A picture that is not decoded yet, from a file or the bytes of one, and its name in messages."""
    from PIL import Image

    if isinstance(source, bytes):
        name = f"a picture of {len(source):,} bytes"
        with decoding(name), Image.open(io.BytesIO(source), formats=FORMATS) as image:
            yield image, name
        return
    with open_regular(source) as stream, decoding(f"{source}"), Image.open(stream, formats=FORMATS) as image:
        yield image, f"{source}"


def read_picture(source: Path | bytes) -> Image:
    """The picture of a file, or of the bytes of one, in red, green and blue; of several in one file the first."""
    with open_picture(source) as (image, name):
        return to_rgb(image, name)


def read_frames(source: Path | bytes, convert: Callable[[Image], Pixels]) -> list[Pixels]:
    """What `convert` makes of each picture of a video: of a folder by their names, or all of a file (animated GIF)."""
    if isinstance(source, Path) and source.is_dir():
        return [convert(read_picture(file)) for file in frame_files(source)]
    frames = []
    with open_picture(source) as (image, name):
        count = getattr(image, "n_frames", 1)
        if count > MAX_FRAMES:
            raise UserError("E-picture", name, f"must have at most {MAX_FRAMES:,} frames, got {count:,}", "cut it")
        for number in range(count):
            image.seek(number)
            frames.append(convert(to_rgb(image, name)))
    return frames


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder, `2.png` before `10.png`; `E-file` where there is none, or another file among them."""
    try:
        names = sorted((name for name in os.listdir(folder) if not name.startswith(".")), key=natural)
    except OSError as error:
        raise UserError("E-file", f"{folder}", f"cannot be read ({error.strerror})", "check the path") from error
    if not names or len(names) > MAX_FRAMES:
        problem = f"must hold 1 to {MAX_FRAMES:,} pictures, the frames of a video, got {len(names):,}"
        raise UserError("E-file", f"{folder}", problem, "name a folder of pictures")
    if strange := next((name for name in names if not name.lower().endswith(SUFFIXES)), None):
        problem = f"holds {strange}, which is no picture by its name"
        raise UserError("E-file", f"{folder}", problem, "move what is no frame to another folder")
    return [folder / name for name in names]


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def to_rgb(image: Image, name: str) -> Image:
    """A decoded copy in eight bits of red, green and blue, turned as its EXIF says, without transparency."""
    from PIL import Image, ImageOps

    if not image.width * image.height:
        problem = f"has no pixels, got {image.width} x {image.height}"
        raise UserError("E-picture", name, problem, "give a picture of at least 1 x 1")
    if image.width * image.height > MAX_PIXELS:
        raise too_large(name, image.size)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):  # one number a pixel; `convert` would cut off large ones
        return Image.fromarray(to_bytes(np.asarray(image), name, 1 if image.mode == "F" else 65535)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_bytes(numbers: npt.NDArray[Any], name: str, most: int) -> Pixels:
    """Numbers of pixels from 0 to `most` as eight bits; `E-picture` where one is out of range."""
    if numbers.dtype.kind not in "buif" or not ((numbers >= 0) & (numbers <= most)).all():  # NaN too
        expected = f"numbers from 0 to {most}" if numbers.dtype.kind in "buif" else "numbers"
        raise UserError("E-picture", name, f"must have pixels that are {expected}", "scale or correct them")
    return np.round(numbers * (255 / most)).astype(np.uint8)


def largest(dtype: np.dtype[Any]) -> int:
    """What white is in an array: 1 as a fraction or a truth value, 65535 in unsigned 16 bits, 255 in whole numbers."""
    return 1 if dtype.kind in "bf" else 65535 if dtype == np.uint16 else 255


def from_array(value: Any, name: str = "array") -> Image:
    """A picture from an array `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]` (with transparency)."""
    from PIL import Image

    try:
        numbers = np.asarray(value)
    except (ValueError, TypeError) as error:  # rows of different lengths
        raise wrong_shape(name, "rows of different lengths") from error
    if numbers.ndim == 3 and numbers.shape[2] == 1:
        numbers = numbers[:, :, 0]
    if not (numbers.ndim == 2 or (numbers.ndim == 3 and numbers.shape[2] in (3, 4))) or not numbers.size:
        raise wrong_shape(name, f"an array of shape {list(numbers.shape)}")
    if numbers.shape[0] * numbers.shape[1] > MAX_PIXELS:
        raise too_large(name, (numbers.shape[1], numbers.shape[0]))
    return to_rgb(Image.fromarray(np.ascontiguousarray(to_bytes(numbers, name, largest(numbers.dtype)))), name)


def wrong_shape(name: str, found: str) -> UserError:
    """The error about something that is no array of a picture."""
    expected = "must be the name of a file, or an array [height, width] or [height, width, 3]"
    return UserError("E-picture", name, f"{expected}, got {found}", "give one of these")
