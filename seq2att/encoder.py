"""Encoders: from the embedded source to one output for every position, and final states.

A plugin subclasses `Encoder`, sets `output_size`, and returns an `Encoding` from `forward`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from seq2att.contracts import setting_name
from seq2att.errors import UserError
from seq2att.recurrence import CellName, Dropout, Layer
from seq2att.registry import Count, Inherited, Range, Rate, Size, kind, register
from seq2att.types import Encoding, length_mask

T = TypeVar("T", int, Tensor)


@kind("encoder")
class Encoder(nn.Module):
    """Encodes an embedded source `[B, S, E]`.

    A subclass sets `output_size` in its constructor, to which the program gives `input_size` (E), and writes `forward`.
    What stands on padding must not change what is returned for real positions.
    """

    output_size: int
    """M, the size of the outputs and of the final states."""

    def __init__(self, input_size: int) -> None:
        super().__init__()

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        """Encode `inputs` `[B, S, E]`, of which row b has `lengths[b]` real positions.

        Returns:
            `Encoding(outputs [B, S, M], mask [B, S], final)`. `final` is a tuple of states `[B, L, M]`, the last one of
            every layer, from which the decoder starts; `()` where there are none.
        """
        raise NotImplementedError

    def grid(self, length: int) -> tuple[int, int] | None:
        """Rows and columns of the regions that stand for a source of `length` positions; None: one for each position.

        The regions follow each other column by column: that in row r and column c is output `c * rows + r`.
        """
        return None


@register("encoder", "none")
class NoEncoder(Encoder):
    """The embedded source itself, without recurrence and without final states."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), ())


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers, in one or both directions.

    Args:
        size: units of a layer in each direction.
        layers: number of layers.
        bidirectional: read in both directions; the outputs of both stand side by side, so M = 2 * size.
        dropout: dropout on the outputs of every layer, the last one included.
        input_dropout: dropout on the input of the first layer.
        residual: every layer but the first adds its input to its output (He et al. 2016).
        locked: use one dropout mask at all positions of a sequence (Gal & Ghahramani 2016).
        weight_drop: dropout on the recurrent weights, one mask for a batch (Merity et al. 2018).
    """

    interchangeable = True
    """The options of a recipe for one of them hold for the others: `encoder=gru` keeps the size of its `lstm`."""
    cell: CellName

    def __init__(
        self,
        input_size: int,
        *,
        size: Size = 256,
        layers: Annotated[int, Range(1, 100)] = 1,
        bidirectional: bool = True,
        dropout: Rate = 0.0,
        input_dropout: Rate = 0.0,
        residual: bool = False,
        locked: bool = False,
        weight_drop: Rate = 0.0,
    ) -> None:
        super().__init__(input_size)
        self.output_size = size * (2 if bidirectional else 1)
        widths = [input_size] + [self.output_size] * (layers - 1)
        self.forwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths)
        self.backwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths if bidirectional)
        self.input_dropout = Dropout(input_dropout, locked)
        self.dropout = Dropout(dropout, locked)
        self.residual = residual

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        needed = lengths if inputs.is_cuda or bool((lengths < inputs.size(1)).any()) else None
        inputs = self.input_dropout(inputs)  # [B, S, E]
        finals = []
        for level in range(len(self.forwards)):
            outputs, final = self.read(level, inputs, needed)
            if self.residual and level > 0:
                outputs = outputs + inputs
            inputs = self.dropout(outputs)  # [B, S, M]
            finals.append(final)
        final = tuple(torch.stack(parts, 1) for parts in zip(*finals, strict=True))  # [B, L, M] each
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), final)

    def read(self, level: int, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run a layer in its directions: outputs `[B, S, M]` and final states `[B, M]`, side by side."""
        runs = []
        for layers, backwards in ((self.forwards, False), (self.backwards, True)):
            if len(layers):
                layer = cast(Layer, layers[level])
                runs.append(layer(inputs, layer.start(inputs, inputs.size(0)), lengths, backwards=backwards))
        if len(runs) == 1:
            return runs[0].outputs, runs[0].final
        finals = zip(*(run.final for run in runs), strict=True)
        return torch.cat([run.outputs for run in runs], 2), tuple(torch.cat(parts, 1) for parts in finals)


@register("encoder", "lstm")
class LSTMEncoder(RecurrentEncoder):
    """LSTM: long short-term memory (Hochreiter & Schmidhuber 1997)."""

    cell = "lstm"


@register("encoder", "gru")
class GRUEncoder(RecurrentEncoder):
    """GRU: gated recurrent units (Cho et al. 2014)."""

    cell = "gru"


@register("encoder", "rnn")
class RNNEncoder(RecurrentEncoder):
    """RNN: simple recurrence h' = f(W x + U h + b) (Elman 1990).

    Args:
        nonlinearity: the activation f.
    """

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        **options: Inherited,
    ) -> None:
        super().__init__(input_size, **options)
        for layer in (*self.forwards, *self.backwards):
            cast(Layer, layer).cell = nonlinearity


COLOURS = 3  # red, green and blue
Odd = Annotated[int, Range(1, 31)]
"""The side of a square filter; odd, so that it has a middle."""


class Convolutions(nn.Module):
    """Convolutions with ReLU; the first ones are followed by max-pooling, which halves width and height.

    What is right of the width of a picture counts as nothing, as what is outside of every picture does.
    """

    def __init__(self, channels: Sequence[int], kernel: int, pools: int) -> None:
        super().__init__()
        widths = (COLOURS, *channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel, padding="same") for before, after in itertools.pairwise(widths)
        )
        self.pools = pools

    def forward(self, pixels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """From `[N, 3, H, W]` and the widths `[N]` to `[N, C, H', W']` and the widths there."""
        for level, layer in enumerate(self.layers):
            pixels = layer(within(pixels, lengths)).relu()
            if level < self.pools:
                pixels = nn.functional.max_pool2d(within(pixels, lengths), 2, ceil_mode=True)
                lengths = halved(lengths)
        return pixels, lengths


def within(pixels: Tensor, lengths: Tensor) -> Tensor:
    """The pixels `[N, C, H, W]` with 0 in place of what is right of the width of each picture."""
    return pixels * length_mask(lengths, pixels.size(3))[:, None, None]


def halved(size: T) -> T:
    """Half of a size, rounded up."""
    return (size + 1) // 2


class PictureEncoder(Encoder):
    """A picture as regions: column by column of them from left to right, each from top to bottom.

    Its source are columns of pixels in three colours (`source=image`), `[B, W, 3 H]` of any width. A subclass sets
    `output_size` and writes `regions` and `cells`.

    Args:
        positions: add a linear layer of the place of a region, from 0 to 1 across and down, to its output.
    """

    def __init__(self, input_size: int, *, positions: bool = True) -> None:
        super().__init__(input_size)
        if input_size % COLOURS:
            problem = f"reads columns of pixels in {COLOURS} colours, and the vectors of this source have {input_size}"
            raise UserError("E-conflict", setting_name("encoder", self), f"{problem} numbers", "set source=image")
        self.height = input_size // COLOURS
        self.has_positions = positions
        self.position: nn.Linear | None = None

    def regions(self, pixels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """From pixels `[B, 3, H, W]` and widths `[B]` to regions `[B, M, H', W']` and widths in regions."""
        raise NotImplementedError

    def cells(self, size: int) -> int:
        """How many regions a picture has along a side of `size` pixels."""
        raise NotImplementedError

    def grid(self, length: int) -> tuple[int, int]:
        return self.cells(self.height), self.cells(length)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        batch, width = inputs.shape[:2]
        if not inputs.numel():
            empty = inputs.new_zeros(batch, 0, self.output_size)
            return Encoding(empty, length_mask(lengths, 0), ())
        pixels = inputs.view(batch, width, self.height, COLOURS).permute(0, 3, 2, 1)  # [B, 3, H, W]
        regions, lengths = self.regions(pixels, lengths)  # [B, M, H', W']
        outputs = regions.permute(0, 3, 2, 1)  # [B, W', H', M]
        rows, columns = regions.shape[2:]
        if self.position is not None:
            outputs = outputs + self.position(places(lengths, rows, columns).to(outputs.dtype))
        return Encoding(outputs.flatten(1, 2), length_mask(lengths * rows, columns * rows), ())

    def add_positions(self) -> None:
        """Make the layer of the places, for a subclass whose `output_size` is set."""
        if self.has_positions:
            self.position = nn.Linear(2, self.output_size)


def places(lengths: Tensor, rows: int, columns: int) -> Tensor:
    """The middle of each region `[B, W', H', 2]`: across and down, as parts of the width and height of a picture."""
    across = (torch.arange(columns, device=lengths.device) + 0.5) / lengths.clamp(min=1).unsqueeze(1)  # [B, W']
    down = (torch.arange(rows, device=lengths.device) + 0.5) / rows  # [H']
    return torch.stack([across.unsqueeze(2).expand(-1, -1, rows), down.expand(len(lengths), columns, -1)], 3)


@register("encoder", "cnn")
class CNNEncoder(PictureEncoder):
    """Convolutional neural network over a picture, whose regions are the memory (LeCun et al. 1998, Xu et al. 2015).

    A layer is a convolution and ReLU; in the first `pools` layers max-pooling over 2 x 2 follows. A picture of H x W
    pixels has H / 2^pools x W / 2^pools regions, rounded up, of as many channels as the last layer has.

    Args:
        channels: filters of each layer.
        kernel: pixels of a side of a filter; odd.
        pools: layers that halve width and height; null for all of them.
        dropout: dropout on the outputs.
    """

    def __init__(
        self,
        input_size: int,
        *,
        channels: tuple[Size, ...] = (32, 64, 128),
        kernel: Odd = 3,
        pools: Count | None = None,
        dropout: Rate = 0.0,
        **options: Inherited,
    ) -> None:
        super().__init__(input_size, **options)
        self.convolutions = Convolutions(*checked_layers("encoder", channels, kernel, pools))
        self.output_size = channels[-1]
        self.dropout = nn.Dropout(dropout)
        self.add_positions()

    def regions(self, pixels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        regions, lengths = self.convolutions(pixels, lengths)
        return self.dropout(regions), lengths

    def cells(self, size: int) -> int:
        for _ in range(self.convolutions.pools):
            size = halved(size)
        return size


def checked_layers(
    slot: str, channels: Sequence[int], kernel: int, pools: int | None
) -> tuple[tuple[int, ...], int, int]:
    """The options of `Convolutions`; `E-size` where they make no network, named as those of a slot."""
    if not channels:
        raise UserError("E-size", f"{slot}.channels=[]", "must name at least one layer", f"set {slot}.channels=[32]")
    if kernel % 2 == 0:
        raise UserError("E-size", f"{slot}.kernel={kernel}", "must be odd", f"set {slot}.kernel={kernel + 1}")
    if pools is not None and pools > len(channels):
        problem = f"must be at most {len(channels)}, the layers in {slot}.channels"
        raise UserError("E-size", f"{slot}.pools={pools}", problem)
    return tuple(channels), kernel, len(channels) if pools is None else pools


@register("encoder", "patches")
class PatchEncoder(PictureEncoder):
    """A picture cut into squares, each read by one layer: h = ReLU(W x + b) (the patches of Dosovitskiy et al. 2021).

    Args:
        patch: pixels of a side of a square; beyond the right and lower edges there is grey.
        size: units of the layer.
        dropout: dropout on the outputs.
    """

    def __init__(
        self, input_size: int, *, patch: Size = 8, size: Size = 128, dropout: Rate = 0.0, **options: Inherited
    ) -> None:
        super().__init__(input_size, **options)
        self.patch, self.output_size = patch, size
        self.layer = nn.Linear(COLOURS * patch * patch, size)
        self.dropout = nn.Dropout(dropout)
        self.add_positions()

    def regions(self, pixels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns, side = self.cells(pixels.size(2)), self.cells(pixels.size(3)), self.patch
        missing = (0, columns * side - pixels.size(3), 0, rows * side - pixels.size(2))
        padded = nn.functional.pad(within(pixels, lengths), missing)
        squares = padded.unflatten(2, (rows, side)).unflatten(4, (columns, side))  # [B, 3, H', P, W', P]
        squares = squares.permute(0, 2, 4, 3, 5, 1).flatten(3)  # [B, H', W', 3 P P]
        regions = self.layer(squares).relu().permute(0, 3, 1, 2)  # [B, M, H', W']
        return self.dropout(regions), -(-lengths // side)

    def cells(self, size: int) -> int:
        return -(-size // self.patch)
