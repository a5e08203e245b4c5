"""The weights of a bundle: the header of a safetensors file is compared with the model before a byte is read.

The model is built without memory first, so that settings which ask for more than the file holds cost nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seq2att.errors import UserError
from seq2att.files.untrusted import COPY, parse_json, read_regular, regular_size

T = TypeVar("T", bound=nn.Module)

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
LENGTH = 8  # bytes that hold the length of the header
MAX_HEADER = 4 << 20
SPARE = 4  # names that a tensor may have
LEAST = 100_000  # a size that is no reason to refuse: an unused option may have it
SIZED = ("encoder", "decoder", "attention", "head", "output", "source", "target")


class Place(NamedTuple):
    """A tensor in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    end: int


def to_safetensors(model: nn.Module) -> tuple[bytes, dict[str, tuple[str, tuple[int, ...]]]]:
    """The weights in the format of safetensors, and the type and shape of each tensor.

    A tensor of several names has the first in the alphabet.
    """
    from safetensors.torch import save

    tensors = {names[0]: tensor.contiguous() for names, tensor in by_tensor(model)}
    others = {name: names[0] for names, _ in by_tensor(model) for name in names[1:]}
    described = {name: (NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
    return save(tensors, metadata=others or None), described


def by_tensor(model: nn.Module) -> list[tuple[list[str], Tensor]]:
    """Every tensor of a model's state with all of its names, which are sorted."""
    groups: dict[int, tuple[list[str], Tensor]] = {}
    for name, tensor in sorted(model.state_dict(keep_vars=True).items()):
        groups.setdefault(id(tensor), ([], tensor.detach()))[0].append(name)
    return list(groups.values())


def read_header(path: Path) -> dict[str, Place]:
    """The tensors of a safetensors file by their names; no more is read than its header."""
    size = regular_size(path)
    start = LENGTH + int.from_bytes(read_regular(path, size, LENGTH), "little")
    if start > min(LENGTH + MAX_HEADER, size):
        problem = f"has {size:,} bytes, too few for its header, or a header above {MAX_HEADER:,} bytes"
        raise UserError("E-bundle", f"{path}", problem, COPY)
    return parse_header(read_regular(path, size, start), size, f"{path}")


def parse_header(content: bytes | bytearray, size: int, place: str) -> dict[str, Place]:
    """The tensors in the header of a safetensors file of `size` bytes, which they fill without gaps."""
    values, start = parse_json(content[LENGTH:], f"{place} (header)"), len(content)
    places: dict[str, Place] = {}
    try:
        for name, entry in values.items():
            if name != "__metadata__":
                first, last = entry["data_offsets"]
                places[name] = Place(str(entry["dtype"]), tuple(entry["shape"]), start + first, start + last)
        is_right = all(type(number) is int and number >= 0 for one in places.values() for number in (*one[1], *one[2:]))
    except (AttributeError, KeyError, TypeError, ValueError):
        is_right = False
    if is_right:
        end = start
        for one in sorted(places.values(), key=lambda one: one[2:]):
            is_right &= one.start == end and one.dtype in DTYPES
            is_right = is_right and one.end - one.start == number_of_bytes(one)
            end = one.end
        is_right &= end == size
    if not is_right:
        raise UserError("E-bundle", place, "is not a whole safetensors file", COPY)
    return places


def num_values(places: Mapping[str, Place]) -> int:
    """The numbers that the tensors hold together."""
    return sum(math.prod(one.shape) for one in places.values())


def check_sizes(config: Mapping[str, Any], places: Mapping[str, Place], place: str) -> None:
    """Raise `E-bundle` for a size or a number of layers that the tensors cannot hold."""
    largest = max(num_values(places), LEAST)
    for slot in SIZED:
        block = config.get(slot)
        for name, value in block.items() if isinstance(block, Mapping) else ():
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, int) and number > largest:
                    problem = f"is more than its weights can hold ({num_values(places):,} numbers)"
                    raise UserError("E-bundle", f"{place}: {slot}.{name}={number}"[:200], problem, COPY)


def number_of_bytes(place: Place) -> int:
    """The bytes that a tensor of this type and shape has."""
    return DTYPES[place.dtype].itemsize * math.prod(place.shape)


class Shapes(TorchFunctionMode):
    """What initializes a tensor without memory does nothing: PyTorch would load its compiler for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, target = getattr(func, "__name__", ""), args[0] if args else kwargs.get("tensor")
        if name.endswith("_") and not name.endswith("__") and isinstance(target, Tensor) and target.is_meta:
            return target
        return func(*args, **kwargs)


@contextmanager
def without_memory(limit: int, refuse: Callable[[int], UserError], tensors: int | None = None) -> Iterator[None]:
    """Modules built inside have tensors without memory; `refuse` makes the error for too much.

    Args:
        limit: the most parameters that the modules may have.
        refuse: makes the error for so many parameters.
        tensors: the most tensors that the parameters may be in; None for `limit`.
    """
    thread, total, count = threading.get_ident(), 0, 0

    def register(module: nn.Module, name: str, parameter: Tensor | None) -> None:
        nonlocal total, count
        if parameter is not None and threading.get_ident() == thread:
            total, count = total + parameter.numel(), count + 1
            if total > limit or count > (limit if tensors is None else tensors):
                raise refuse(total)

    hook = nn.modules.module.register_module_parameter_registration_hook(register)
    try:
        with torch.device("meta"), Shapes():
            yield
    finally:
        hook.remove()


def check_tensors(model: nn.Module, places: Mapping[str, Place], place: str) -> torch.dtype | None:
    """Raise `E-bundle` unless a file holds exactly the tensors of the model; returns their type of floats, if any."""
    floats = {one.dtype for one in places.values() if DTYPES[one.dtype].is_floating_point}
    if len(floats) > 1:
        raise UserError("E-bundle", place, f"holds floats of several types ({', '.join(sorted(floats))})", COPY)
    known = set()
    for names, tensor in by_tensor(model):
        known.update(names)
        saved_names = [name for name in names if name in places]
        if len(saved_names) != 1:
            problem = "two names of one tensor" if saved_names else "this tensor is missing"
            raise UserError("E-bundle", f"{place}: {', '.join(names)}"[:200], problem, COPY)
        for name in saved_names:
            if places[name].shape != tuple(tensor.shape):
                problem = f"has the shape {list(places[name].shape)}, its settings make {list(tensor.shape)}"
                raise UserError("E-bundle", f"{place}: {name}", problem, COPY)
            is_float = DTYPES[places[name].dtype].is_floating_point
            if is_float != tensor.is_floating_point() or not (is_float or DTYPES[places[name].dtype] == tensor.dtype):
                raise UserError("E-bundle", f"{place}: {name}", f"has the type {places[name].dtype}", COPY)
    if unknown := sorted(places.keys() - known):
        raise UserError("E-bundle", f"{place}: {unknown[0][:100]}", "the model has no such tensor", COPY)
    return DTYPES[floats.pop()] if floats else None


def read_tensors(model: T, content: bytearray, places: Mapping[str, Place], place: str) -> T:
    """The model with the tensors of a file, which must be finite."""
    state = model.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, one in places.items():
            tensor = state[name].detach()
            if tensor.numel():
                values = torch.frombuffer(content, dtype=DTYPES[one.dtype], count=tensor.numel(), offset=one.start)
                tensor.copy_(values.view(one.shape))
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise UserError("E-bundle", f"{place}: {name}", "holds numbers that are not finite", COPY)
    return model
