"""The gate of the C boundary: every call of a native function is checked here.

A native function takes one struct. `Struct` declares its fields in the order of the C header; a tensor's address is
taken only after its type, shape, layout and device have been compared with the declaration. How the values go together
(a length is within the sequence, a GRU has its bias) is checked at the other side by the `status()` of the C++ struct.
A call that does not fit raises `ArgumentError`; none reads or writes outside its tensors.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from seq2att.recurrence.native.build import library

TYPES = {"int64": torch.int64, "bool": torch.bool, "int8": torch.int8, "uint8": torch.uint8, "float64": torch.float64}
"""The element types that have a name; every other name ("T") stands for one type in all arguments of a call."""
SUFFIXES = {torch.float32: "_f32", torch.float64: "_f64", None: ""}
"""What ends the name of the function for elements of type T, or of one without T."""
EMPTY = torch.empty(64, dtype=torch.uint8)
NOWHERE = EMPTY.data_ptr()  # where a tensor without elements lies: null means that there is no tensor


class ArgumentError(RuntimeError):
    """A native function was called with arguments that it does not take: an error of the calling code."""


class Null:
    """A pointer that is always null."""

    format: ClassVar = "q"


class Array:
    """A tensor on the CPU: its address, after its element type and the names of its sizes have been compared.

    Args:
        type: a name in `TYPES`, or one that stands for the same type in the whole call.
        sizes: the name of each dimension; equal names are equal sizes in the whole call.
        optional: whether None is allowed, which is null.
        strides: `rows` allows gaps between the rows of a matrix, and their distance follows the address; `both` allows
            a transposed matrix too, and both distances follow.
    """

    def __init__(
        self, type: str, *sizes: str, optional: bool = False, strides: Literal["none", "rows", "both"] = "none"
    ) -> None:
        self.type, self.sizes, self.optional, self.strides = type, sizes, optional, strides
        self.format = {"none": "q", "rows": "qq", "both": "qqq"}[strides]

    def bind(self, name: str, tensor: Any, sizes: dict[str, Any], slots: dict[str, Any]) -> bool:
        """Enter its type and sizes into `sizes`, and its address into `slots`; False where the tensor does not fit."""
        if tensor is None:
            slots[name] = 0
            return self.optional
        if type(tensor) is not Tensor and type(tensor) is not nn.Parameter:
            return False
        dtype, shape = tensor.dtype, tensor.shape
        if sizes.setdefault(self.type, dtype) is not dtype or not tensor.is_cpu or len(shape) != len(self.sizes):
            return False
        for size, count in zip(self.sizes, shape, strict=True):
            if sizes.setdefault(size, count) != count:
                return False
        if self.strides == "none":
            if not tensor.is_contiguous():
                return False
        else:
            row, column = tensor.stride()
            if self.strides == "both":
                if row != 1 and column != 1:
                    return False
                slots[f"{name}_column"] = column
            elif not rows_are_apart(row, column, shape):
                return False
            slots[f"{name}_row"] = row
        slots[name] = tensor.data_ptr() or NOWHERE
        return True

    def describe(self, sizes: Mapping[str, Any]) -> str:
        """What is expected, with the sizes that are known."""
        dtype = str(sizes.get(self.type, self.type)).removeprefix("torch.")
        shape = ", ".join(f"{name}={sizes.get(name, 'any')}" for name in self.sizes)
        layout = {"none": "contiguous", "rows": "rows contiguous", "both": "rows or columns contiguous"}[self.strides]
        return f"{dtype} [{shape}] on the CPU, {layout}{' or None' * self.optional}"


class Records:
    """A list of values for another struct, which lie one after the other; `count` names how many they are."""

    format: ClassVar = "q"

    def __init__(self, struct: Struct, count: str) -> None:
        self.struct, self.count = struct, count

    def bind(self, name: str, records: Any, sizes: dict[str, Any], slots: dict[str, Any]) -> bool:
        """Enter the count into `sizes`, which keeps the memory, and the address into `slots`."""
        if not isinstance(records, list) or sizes.setdefault(self.count, len(records)) != len(records):
            return False
        data = b"".join(self.struct.pack(f"{name}[{number}]", record, sizes) for number, record in enumerate(records))
        memory = sizes[f"memory of {name}"] = ctypes.create_string_buffer(data, max(1, len(data)))
        slots[name] = ctypes.addressof(memory)
        return True

    def describe(self, sizes: Mapping[str, Any]) -> str:
        """What is expected."""
        return f"a list of {self.count}={sizes.get(self.count)} records"


Field = Null | Array | Records


class Struct:
    """A C struct of 8-byte fields: integers, reals and sizes, then pointers, each followed by its strides, if any.

    Args:
        integers: the names of integers that the caller gives.
        reals: the names of floating-point numbers that the caller gives.
        sizes: the names of sizes that the arrays have in common; 0 where no array has it.
        **fields: the pointers.
    """

    def __init__(self, integers: str = "", sizes: str = "", reals: str = "", /, **fields: Field) -> None:
        self.fields, self.numbers = fields, (*integers.split(), *reals.split())
        self.arrays = tuple((name, field) for name, field in fields.items() if not isinstance(field, Null))
        pointers = [slot for name, field in fields.items() for slot in slots(name, field)]
        self.slots = (*self.numbers, *sizes.split(), *pointers)
        num_integers, num_reals = len(integers.split()), len(reals.split())
        rest = len(self.slots) - num_integers - num_reals
        self.layout = struct.Struct(f"={num_integers}q{num_reals}d{rest}q")

    def pack(self, label: str, values: Mapping[str, Any], sizes: dict[str, Any]) -> bytes:
        """The struct in memory, after every value has been checked; `sizes` gets the types and sizes of the arrays."""
        if len(values) != len(self.numbers) + len(self.arrays):
            raise TypeError(f"{label}: takes {', '.join([*self.numbers, *dict(self.arrays)])}; got {', '.join(values)}")
        slots: dict[str, Any] = {}
        for name in self.numbers:
            sizes[name] = values[name]
        for name, field in self.arrays:
            if not field.bind(name, values[name], sizes, slots):
                raise ArgumentError(f"{label}: {name} must be {field.describe(sizes)}, got {describe(values[name])}")
        slots = sizes | slots
        try:
            return self.layout.pack(*[slots.get(slot, 0) for slot in self.slots])
        except (struct.error, TypeError) as error:
            raise ArgumentError(f"{label}: {error}: { {name: values[name] for name in self.numbers} }") from error

    def prepare(self, **values: Any) -> Prepared:
        """The struct with checked values, to be used in many calls of functions that begin with it."""
        sizes: dict[str, Any] = dict(TYPES)
        return Prepared(self, self.pack("prepare", values, sizes), sizes, values)


class Prepared(NamedTuple):
    """A struct in memory, with the tensors that it points to."""

    struct: Struct
    data: bytes
    sizes: dict[str, Any]
    values: Mapping[str, Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Prepared:
        """The same: a copy would point to the tensors of this one."""
        return self


class Function:
    """A native function: checks its arguments, then calls the C++ function of their element type.

    Args:
        name: of the C++ function, without the suffix of the element type.
        struct: its arguments.
        after: the structs of which one comes first, prepared.
    """

    def __init__(self, name: str, struct: Struct, after: Sequence[Struct] = ()) -> None:
        self.name, self.struct, self.after = name, struct, after
        self.loaded: dict[torch.dtype | None, Any] = {}

    def __call__(self, prepared: Prepared | None = None, /, **values: Any) -> None:
        """Call it; `ArgumentError` for what does not fit, `IndexError` for an index or length out of range."""
        if prepared is None and not self.after:
            sizes, data = dict(TYPES), b""
        elif prepared is not None and prepared.struct in self.after:
            sizes, data = prepared.sizes.copy(), prepared.data
        else:
            raise ArgumentError(f"{self.name}: the prepared struct is missing, or another one")
        data += self.struct.pack(self.name, values, sizes)
        dtype = sizes.get("T")
        function = self.loaded.get(dtype) or self.load(dtype)
        status = function(data, len(data), torch.get_num_threads())
        if status:
            raise failure(status, self.name)

    def load(self, dtype: torch.dtype | None) -> Any:
        """The C++ function for elements of this type."""
        if dtype not in SUFFIXES:
            raise ArgumentError(f"{self.name}: there is no native function for {dtype}")
        function = getattr(library(), f"{self.name}{SUFFIXES[dtype]}")
        function.argtypes, function.restype = (ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64), ctypes.c_int64
        self.loaded[dtype] = function
        return function


def failure(status: int, name: str) -> Exception:
    """The error that a status of boundary.h stands for."""
    if status == 1:
        return MemoryError(f"{name}: out of memory")
    if status == 2:
        return ArgumentError(f"{name}: the arguments do not go together; see status() of its C++ struct")
    if status == 3:
        return IndexError(f"{name}: an index or a length is out of range")
    return ArgumentError(f"{name}: failed with status {status}")


def packed_size(type: str, outputs: int, inputs: int) -> int:
    """How many elements a packed matrix takes; `type` is f32, f64 or i8."""
    function = getattr(library(), f"packed_size_{type}")
    function.argtypes, function.restype = (ctypes.c_int64, ctypes.c_int64), ctypes.c_int64
    return int(function(outputs, inputs))


def rows_are_apart(row: int, column: int, shape: Sequence[int]) -> bool:
    """Whether a matrix of these strides has contiguous rows that do not overlap."""
    return (column == 1 or shape[1] <= 1) and (row >= shape[1] or shape[0] <= 1)


def with_contiguous_rows(matrix: Tensor) -> Tensor:
    """The matrix, or a copy where its rows are not contiguous or overlap."""
    row, column = matrix.stride()
    return matrix if rows_are_apart(row, column, matrix.shape) else matrix.contiguous()


def slots(name: str, field: Field) -> list[str]:
    """The names of the 8-byte fields that a field stands for."""
    return [name, f"{name}_row", f"{name}_column"][: len(field.format)]


def describe(value: Any) -> str:
    """A value in a message: of a tensor its type, shape and layout."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    gaps = "" if value.is_contiguous() else f" with strides {tuple(value.stride())}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)} on {value.device}{gaps}"
