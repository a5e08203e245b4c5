"""A copy of a model with packed weights, which answers as the model does; the model itself stays as it is."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import torch
from torch import Tensor, nn

from seq2att import kernels
from seq2att.attention import Attention
from seq2att.decoder import RecurrentDecoder
from seq2att.head import Generator
from seq2att.inference.generator import FastGenerator
from seq2att.inference.modules import FastLayer, FastLinear, FastOutput
from seq2att.model import Model
from seq2att.output import Linear
from seq2att.recurrence import Dense, Dropout, Layer, is_exact
from seq2att.recurrence.choice import is_changed

GROUP = 61  # words of 8 bytes
LARGE = 1 << 16  # bytes of a tensor whose words are added up in groups
DESCRIPTIONS = {"metrics", "loss_metrics", "accuracy", "task", "multiple_references"}  # they change no answer
COMMON = {"__module__", "__doc__", "__annotations__", "__firstlineno__", "__static_attributes__", "__parameters__"}


def optimize_for_inference(model: Model, quantize: bool = False) -> Model:
    """A copy of the model with packed weights for a CPU, in int8 with `quantize`; the model where that is impossible.

    The copy has the parameters of the model. Every linear, recurrent and output layer that is exactly of its class is
    replaced, in plugins too, and the head where `is_supported`; whatever is subclassed, hooked or changed is called.
    """
    weights = list(model.parameters())
    dtypes = {weight.dtype for weight in weights if weight.is_floating_point()}
    if len(dtypes) != 1 or not dtypes <= kernels.TYPES.keys() or any(weight.device.type != "cpu" for weight in weights):
        return model
    if not quantize and any(is_changed(module) for module in model.modules()):  # hooks expect these modules
        return model
    copied = model.copy()
    replace_modules(copied, quantize)
    if isinstance(model.head, Generator) and isinstance(copied.head, Generator) and is_supported(model.head):
        copied.head = FastGenerator(model.head, copied.head, quantize)
    return copied


def replace_modules(module: nn.Module, quantize: bool) -> None:
    """Replace the modules within by their fast counterparts."""
    for name, child in module.named_children():
        fast = fast_module(child, quantize)
        if fast is None:
            replace_modules(child, quantize)
        else:
            setattr(module, name, fast)


def fast_module(module: nn.Module, quantize: bool) -> nn.Module | None:
    """The fast counterpart of a module that is exactly of a class that has one."""
    if any(type(parameter) is not nn.Parameter for parameter in module.parameters()):
        return None
    if isinstance(module, nn.Linear) and is_exact(module, nn.Linear, Dense):
        return FastLinear(module, quantize)
    if isinstance(module, Linear) and is_exact(module, Linear):
        return FastOutput(module, quantize)
    if isinstance(module, Layer) and is_exact(module, Layer):
        native = kernels.is_native(module.hidden_weight.dtype)
        return FastLayer(module, quantize) if native or quantize else None  # PyTorch's is faster than an emulated one
    return None


def is_supported(head: Generator) -> bool:
    """Whether `FastGenerator` computes the steps of this head.

    Head and decoder may be subclasses that set options, but none that define a method; every module that a fast step
    does not call must be exactly of its class, without hooks and unchanged.
    """
    decoder = head.decoder
    return (
        added_names(type(head), Generator) <= DESCRIPTIONS
        and not is_changed(head)
        and isinstance(decoder, RecurrentDecoder)
        and added_names(type(decoder), RecurrentDecoder) <= {"cell", "__init__"}
        and not is_changed(decoder)
        and decoder.can_loop()
        and is_exact(decoder.input_dropout, Dropout)
        and isinstance(decoder.attention, Attention)
        and hasattr(head.embedding, "output_size")
    )


def added_names(kind: type, base: type) -> set[str]:
    """The names that a class and those between it and `base` define."""
    between = kind.__mro__[: kind.__mro__.index(base)]
    return {name for one in between for name in vars(one)} - COMMON


def weights_version(model: nn.Module) -> tuple[object, ...]:
    """A value that differs after every change of what the model computes.

    It covers every byte of the parameters and buffers, because PyTorch does not count changes through `.data`, and the
    modules with their settings and hooks. It takes about 1 ms for 12 MB of weights.
    """
    tensors = [
        (tensor.dtype, tensor.shape, tensor.device, checksum(tensor))
        for tensor in itertools.chain(model.parameters(), model.buffers())
    ]
    modules = [(type(module), is_changed(module), settings(module)) for module in model.modules()]
    return (*tensors, *modules)


def checksum(tensor: Tensor) -> tuple[int, int]:
    """PyTorch's count of the changes of a tensor, and a checksum of its bytes unless it is on a device.

    The words of a large tensor are added up in groups first, five times as fast as a checksum of all of them. The size
    of a group is prime, so that moving words within the rows of a matrix moves some into another group.
    """
    changes = 0 if tensor.is_inference() else tensor._version
    if tensor.device.type != "cpu":  # nothing is packed there
        return changes, 0
    data = tensor.detach().contiguous().view(-1).view(torch.uint8)
    size = data.numel() // (8 * GROUP) * (8 * GROUP)
    if size < LARGE or data.data_ptr() % 8:
        return changes, zlib.crc32(data.numpy().data)
    words = torch.from_numpy(data[:size].numpy().view(np.int64))  # a view at any offset
    sums = words.view(-1, GROUP).sum(1)
    return changes, zlib.crc32(data[size:].numpy().data, zlib.crc32(sums.view(torch.uint8).numpy().data))


def settings(module: nn.Module) -> tuple[tuple[str, object], ...]:
    """The plain attributes of a module."""
    return tuple((name, value) for name, value in vars(module).items() if isinstance(value, bool | int | float | str))
