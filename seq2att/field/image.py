"""Pictures and videos: from files of any size, arrays or encoded bytes to pixels of a fixed height."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.encoder import COLOURS, Convolutions, Odd, checked_layers
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.files import picture
from seq2att.files.picture import Pixels
from seq2att.registry import Size, register

if TYPE_CHECKING:  # Pillow is an extra
    from PIL.Image import Image

BLOCK = 1 << 20  # bytes of a file that are hashed at once


class PictureField(Field):
    """Values that are pictures, as `uint8` pixels of red, green and blue; they need Pillow (`seq2att[pictures]`).

    A picture is the name of a file (PNG, JPEG, GIF, BMP, WebP, TIFF, PPM), the bytes of such a file, an array
    `[H, W]`, `[H, W, 3]` or `[H, W, 4]` (`uint8`, `uint16` or fractions from 0 to 1), a tensor `[C, H, W]`, or an
    image of Pillow. It is turned as its EXIF says; transparency is laid over white; grey is three equal colours.

    Args:
        height: pixels of the height that every picture is brought to.
        width: pixels of its width; null keeps its proportions, so that wide pictures have more columns.
        resize: how a picture of other proportions fits: `stretch` it, `pad` it with white, or `crop` its middle.
    """

    has_tokens: ClassVar[bool] = False
    names_files: ClassVar[bool] = True

    def __init__(
        self,
        *,
        height: Size = 32,
        width: Size | None = 32,
        resize: Literal["stretch", "pad", "crop"] = "stretch",
    ) -> None:
        self.height, self.width, self.resize = height, width, resize

    def check(self, side: str, root: Path | None) -> None:
        name = f"{side}={'frames' if isinstance(self, FramesField) else 'image'}"
        picture.check_pillow(name)
        if side != "source":
            raise UserError("E-conflict", name, "a picture can only be the source", f"set {side}=text")

    def fit(self, values: Iterable[Any]) -> None:
        """Nothing to learn: the size is an option, and pixels are scaled alike in every data set."""

    def files(self) -> dict[str, bytes]:
        """No files."""
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Nothing to restore."""

    def is_single(self, inputs: Any) -> bool:
        return isinstance(inputs, bytes | Path) or is_image(inputs) or array_dimensions(inputs) in self.dimensions

    dimensions: ClassVar[tuple[int, ...]]
    """The dimensions of an array that is one value."""

    def digest(self, values: Iterable[Any]) -> str:
        """A hash of the content of all files that the values name, each once."""
        total, seen = hashlib.blake2b(digest_size=16), set[str]()
        for value in values:
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, str) and name not in seen:
                    seen.add(name)
                    hash_files(Path(name), total)
        return total.hexdigest()

    def load(self, value: Any) -> Image:
        """One picture as Pillow's, in its own size."""
        picture.check_pillow("picture")
        if isinstance(value, str | Path):
            return picture.read_picture(as_path(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return picture.read_picture(bytes(value))
        if is_image(value):
            with picture.decoding("picture"):  # Pillow reads a file when its pixels are needed
                return picture.to_rgb(value, "picture")
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            value = value.permute(1, 2, 0).numpy() if value.dim() == 3 else value.numpy()
        if value is None or isinstance(value, Mapping | bool | int | float):
            raise picture.wrong_shape("picture", type(value).__name__)
        return picture.from_array(value, "picture")

    def to_size(self, image: Image) -> Pixels:
        """The picture in the size of this field: `[H, W, 3]`."""
        from PIL import Image, ImageOps

        width = self.width or max(1, round(image.width * self.height / image.height))
        if width * self.height > picture.MAX_PIXELS:
            raise picture.too_large("picture", (width, self.height))
        size, method = (width, self.height), Image.Resampling.BILINEAR
        if image.size == size:
            scaled = image
        elif self.resize == "pad" and self.width:
            scaled = ImageOps.pad(image, size, method, color="white")
        elif self.resize == "crop" and self.width:
            scaled = ImageOps.fit(image, size, method)
        else:
            scaled = image.resize(size, method)
        return np.array(scaled, np.uint8)  # a copy, which may be written to


def is_blank(value: Any) -> bool:
    """Whether a value is the empty text, which is answered by an empty one."""
    return isinstance(value, str) and not value.strip()


def as_path(name: str | Path) -> Path:
    """The path of a file name, in which `~` is the home folder."""
    return Path(os.path.expanduser(name))


def is_image(value: Any) -> bool:
    """Whether this is an image of Pillow, which is not imported for it."""
    return any(f"{cls.__module__}.{cls.__name__}" == "PIL.Image.Image" for cls in type(value).__mro__)


def array_dimensions(value: Any) -> int:
    """The dimensions of an array or a tensor; 0 for anything else."""
    return value.ndim if isinstance(value, np.ndarray | Tensor) else 0


def hash_files(path: Path, total: Any) -> None:
    """Add the content of a file, or of those of a folder, to a hash; what cannot be read is said when it is used."""
    try:
        for file in picture.frame_files(path) if path.is_dir() else [path]:
            total.update(file.name.encode("utf-8", "surrogatepass"))
            with picture.open_regular(file) as stream:
                while block := stream.read(BLOCK):
                    total.update(block)
    except UserError as error:
        total.update(str(error).encode("utf-8", "surrogatepass"))


@register("field", "image")
class ImageField(PictureField):
    """A picture as a sequence of its columns of pixels, for `encoder=cnn`, `patches` or a recurrent one."""

    dimensions: ClassVar[tuple[int, ...]] = (2, 3)

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the options
        """The numbers of a column: three colours of each pixel."""
        return COLOURS * self.height

    def encode(self, value: Any) -> Pixels:
        """The columns of pixels from left to right, `[W, 3 H]` uint8: the colours of the topmost pixel first."""
        if is_blank(value):
            return np.zeros((0, self.size), np.uint8)
        return self.to_size(self.load(value)).transpose(1, 0, 2).reshape(-1, self.size)

    def decode(self, ids: Sequence[Any]) -> Pixels:
        """The picture `[H, W, 3]`."""
        return self.picture(np.asarray(ids, np.uint8))

    def picture(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.ascontiguousarray(array.reshape(-1, self.height, COLOURS).transpose(1, 0, 2))

    def pieces(self, ids: Sequence[Any]) -> tuple[str, ...]:
        """The numbers of the columns, from 1."""
        return tuple(map(str, range(1, len(ids) + 1)))

    def embed(self) -> PixelEmbedding:
        """A layer from pixels `[B, W, 3 H]` to the same from -1 (black) to 1 (white)."""
        return PixelEmbedding(self.size)


class PixelEmbedding(nn.Module):
    """Pixels from 0 to 255 as numbers from -1 to 1, in the precision of the model."""

    reference: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output_size = width
        self.register_buffer("reference", torch.zeros(()), persistent=False)  # has the precision of the model

    def forward(self, values: Tensor) -> Tensor:
        """From `[B, S, F]` to `[B, S, F]`."""
        return values.to(self.reference.dtype) / 127.5 - 1


@register("field", "frames")
class FramesField(PictureField):
    """A video as a sequence of pictures, each read by a small convolutional network.

    A value is the name of a folder of pictures (in the order of their names, `2.png` before `10.png`), the name of one
    file of several (an animated GIF, PNG or WebP), or a list of pictures, as an array `[S, H, W]` or `[S, H, W, 3]`.

    Args:
        embedding_size: size of the vector of a frame.
        channels: filters of each convolution that reads a frame; pooling over 2 x 2 pixels follows each.
        kernel: pixels of a side of a filter; odd.
    """

    embedding_options: ClassVar[frozenset[str]] = frozenset(("embedding_size", "channels", "kernel"))
    dimensions: ClassVar[tuple[int, ...]] = (3, 4)

    def __init__(
        self,
        *,
        height: Size = 32,
        width: Size = 32,
        resize: Literal["stretch", "pad", "crop"] = "stretch",
        embedding_size: Size = 64,
        channels: tuple[Size, ...] = (16, 32),
        kernel: Odd = 3,
    ) -> None:
        super().__init__(height=height, width=width, resize=resize)
        self.columns, self.embedding_size = width, embedding_size
        self.layers = checked_layers("source", channels, kernel, None)

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the options
        """The numbers of a frame: three colours of each pixel."""
        return COLOURS * self.height * self.columns

    def encode(self, value: Any) -> Pixels:
        """The frames in order, `[S, 3 H W]` uint8."""
        if is_blank(value):
            frames = []
        elif isinstance(value, str | Path | bytes):
            picture.check_pillow("video")
            source = value if isinstance(value, bytes) else as_path(value)
            frames = picture.read_frames(source, self.to_size)
        elif isinstance(value, list | tuple | np.ndarray | Tensor):
            frames = [self.to_size(self.load(one)) for one in value]
        else:
            problem = "must be a folder of pictures, a file of several, or a list of pictures"
            raise UserError("E-picture", "video", f"{problem}, got {type(value).__name__}", "give one of these")
        return np.stack(frames).reshape(len(frames), self.size) if frames else np.zeros((0, self.size), np.uint8)

    def decode(self, ids: Sequence[Any]) -> Pixels:
        """The frames `[S, H, W, 3]`."""
        return np.asarray(ids, np.uint8).reshape(-1, self.height, self.columns, COLOURS)

    def picture(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self.decode(list(array)).transpose(1, 0, 2, 3).reshape(self.height, -1, COLOURS)

    def pieces(self, ids: Sequence[Any]) -> tuple[str, ...]:
        """The numbers of the frames, from 1."""
        return tuple(map(str, range(1, len(ids) + 1)))

    def embed(self) -> FrameEmbedding:
        """A new layer from pixels `[B, S, 3 H W]` to `[B, S, E]`."""
        return FrameEmbedding(self.height, self.columns, self.embedding_size, self.layers)


class FrameEmbedding(PixelEmbedding):
    """One vector for each frame: convolutions, then a linear layer with ReLU of all that they found, where it is."""

    def __init__(self, height: int, width: int, size: int, layers: tuple[tuple[int, ...], int, int]) -> None:
        super().__init__(size)
        self.height, self.width = height, width
        self.convolutions = Convolutions(*layers)
        rows, columns = (-(-side // 2 ** layers[2]) for side in (height, width))
        self.projection = nn.Linear(layers[0][-1] * rows * columns, size)

    def forward(self, values: Tensor) -> Tensor:
        pixels = super().forward(values)  # [B, S, 3 H W]
        batch, steps = pixels.shape[:2]
        if not pixels.numel():
            return pixels.new_zeros(batch, steps, self.output_size)
        frames = pixels.view(batch * steps, self.height, self.width, COLOURS).permute(0, 3, 1, 2)  # [B S, 3, H, W]
        found, _ = self.convolutions(frames, frames.new_full((len(frames),), self.width, dtype=torch.long))
        vectors: Tensor = self.projection(found.flatten(1)).relu()
        return vectors.view(batch, steps, self.output_size)
