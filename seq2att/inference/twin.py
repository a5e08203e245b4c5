"""The twin of a model: the same answers, by weights that were prepared once. The model itself stays as it is."""

from __future__ import annotations

import copy

import torch
from torch import nn

from seq2att import kernels
from seq2att.decoder import RecurrentDecoder
from seq2att.head import Generator
from seq2att.inference.generator import FastGenerator
from seq2att.inference.modules import FastLayer, FastLinear, FastOutput
from seq2att.model import Model
from seq2att.output import Linear
from seq2att.recurrence import Dense, Layer, Stack

TYPES = (torch.float32, torch.float64)
SAYS = {"metrics", "loss_metrics", "task", "multiple_references"}  # what a head says of itself, and not what it does
SILENT = {"__module__", "__doc__", "__annotations__", "__firstlineno__", "__static_attributes__", "__parameters__"}


def twin(model: Model, quantize: bool = False) -> Model:
    """The model made ready to predict on a CPU; the model itself where nothing can be made faster.

    Linear and recurrent layers everywhere, those of plugins too, hold their weights packed, with `quantize` in int8.
    """
    weight = next(model.parameters())
    if weight.device.type != "cpu" or weight.dtype not in TYPES or (hooked(model) and not quantize):
        return model
    kept = (*model.parameters(), model.source, model.target)
    copied = copy.deepcopy(model, {id(one): one for one in kept}).eval()
    replace(copied, quantize)
    if isinstance(model.head, Generator) and isinstance(copied.head, Generator) and usual(model.head):
        copied.head = FastGenerator(model.head, copied.head, quantize)
    return copied


def replace(module: nn.Module, quantize: bool) -> None:
    """Put fast modules in the place of those within."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and type(child) in (nn.Linear, Dense):
            setattr(module, name, FastLinear(child, quantize))
        elif type(child) is Layer and (quantize or kernels.is_native(child.hidden_weight.dtype)):
            setattr(module, name, FastLayer(child, quantize))
        elif type(child) is Linear:
            setattr(module, name, FastOutput(child, quantize))
        else:
            replace(child, quantize)


def usual(head: Generator) -> bool:
    """Whether head and decoder are of the usual kind: subclasses may set options, not do things their way."""
    decoder = head.decoder
    return (
        adds(type(head), Generator) <= SAYS
        and isinstance(decoder, RecurrentDecoder)
        and adds(type(decoder), RecurrentDecoder) <= {"cell", "__init__"}
        and type(decoder.stack) is Stack
        and all(type(layer) is Layer for layer in decoder.stack.each())
    )


def adds(kind: type, base: type) -> set[str]:
    """The names that the class and those between it and `base` define."""
    between = kind.__mro__[: kind.__mro__.index(base)]
    return {name for one in between for name in vars(one)} - SILENT


def hooked(model: nn.Module) -> bool:
    """Whether somebody watches a part of the model, which a twin would pass by."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def follows(model: nn.Module) -> tuple[object, ...]:
    """What changes whenever the model's weights do, so that its twin can follow it."""
    weights = tuple((weight.data_ptr(), weight.dtype, weight._version) for weight in model.parameters())
    return (*weights, hooked(model))
