"""Files that others wrote: read only if they are regular, of bounded size, and (YAML, JSON) of bounded depth.

Nothing here follows a link, waits for a pipe, reads a device, or builds more than its file holds.
"""

from __future__ import annotations

import collections
import functools
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2att.errors import UserError

MAX_DEPTH = 24  # of YAML
MAX_NODES = 20_000  # of YAML
NAME = re.compile(r"[^\x00-\x1f/\\:*?\"<>|]{1,100}")  # of a file on every system
MAX_FIGURES = 4 << 20  # bytes of a metrics.json
MAX_ENTRIES = 100  # of a folder
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
FLOAT = re.compile(
    r"[-+]?\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?$|[-+]?\d[\d_]*[eE][-+]?\d+$|\.\d[\d_]*(?:[eE][-+]\d+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$",
    re.ASCII,
)
"""A number with a fraction or an exponent, as OmegaConf reads it."""
COPY = "copy the folder again from where it was saved"


def regular_size(path: Path) -> int:
    """The size of a file in bytes; `E-bundle` unless it is a regular file."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        raise UserError("E-bundle", f"{path}", f"is {kind}, not a regular file", "copy the folder with its files")
    return status.st_size


def read_regular(path: Path, limit: int, first: int | None = None) -> bytearray:
    """The bytes of a regular file of at most `limit` bytes, or the first ones of them."""
    size = regular_size(path)
    if size > limit:
        problem = f"must have at most {limit:,} bytes here, got {size:,}"
        raise UserError("E-bundle", f"{path}", problem, COPY)
    try:
        descriptor = os.open(path, FLAGS)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UserError("E-bundle", f"{path}", "changed while it was read", "give the command again")
            content = bytearray(size if first is None else min(first, size))
            length = stream.readinto(content)
    except OSError as error:
        raise unreadable(path, error) from error
    if length != len(content):
        raise UserError("E-bundle", f"{path}", "changed while it was read", "give the command again")
    return content


def file_names(folder: Path) -> list[str]:
    """The names of the files in a folder that is no link, hidden ones left out; a missing folder has none."""
    try:
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode):
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "a file")
            raise UserError("E-bundle", f"{folder}", f"is {kind}, not a folder", "copy the folder with its files")
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(MAX_ENTRIES + 1), strict=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
    if len(names) > MAX_ENTRIES:
        raise UserError("E-bundle", f"{folder}", f"must hold at most {MAX_ENTRIES} files", COPY)
    return sorted(name for name in names if not name.startswith("."))


def unreadable(path: Path, error: OSError) -> UserError:
    """The error about a file that the system did not let us read."""
    if isinstance(error, FileNotFoundError):
        return UserError("E-bundle", f"{path}", "is missing", COPY)
    return UserError("E-bundle", f"{path}", f"cannot be read ({error.strerror or error})", "change its rights")


def parse_text(content: bytes | bytearray, place: str) -> str:
    """The text of UTF-8 bytes."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} (0x{content[error.start]:02x}) is not UTF-8"
        raise UserError("E-bundle", place, problem, COPY) from error


def parse_json(content: bytes | bytearray, place: str, is_finite: bool = True) -> Any:
    """The value of JSON text; deep nesting is refused, and so are NaN and infinities, unless `is_finite` is false."""
    text = parse_text(content, place)
    constant = refuse_constant if is_finite else float
    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=unique_pairs)
    except RecursionError as error:
        raise UserError("E-bundle", place, "is nested too deeply", COPY) from error
    except ValueError as error:
        problem = f"is not valid JSON ({str(error).partition(chr(10))[0][:100]})"
        raise UserError("E-bundle", place, problem, COPY) from error


def refuse_constant(name: str) -> None:
    """Refuse NaN and infinities, which JSON does not have."""
    raise ValueError(f"{name} is no number")


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, whose keys must differ."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key occurs twice")
    return values


def read_figures(path: Path) -> dict[str, Any]:
    """The figures of a run in its `metrics.json`, which may be NaN or infinite."""
    figures = parse_json(read_regular(path, MAX_FIGURES), f"{path}", is_finite=False)
    if not isinstance(figures, dict):
        raise UserError("E-bundle", f"{path}", "must be a mapping of figures", COPY)
    return figures


def as_names(values: Any, place: str) -> tuple[str, ...]:
    """The values of a list of texts that differ."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError("E-bundle", place, "must be a list of texts", COPY)
    if len(set(values)) < len(values):
        name, _ = collections.Counter(values).most_common(1)[0]
        raise UserError("E-bundle", place, f"{name[:40]!r} occurs twice", COPY)
    return tuple(values)


def parse_yaml(content: bytes | bytearray, place: str) -> dict[str, Any]:
    """The mapping in YAML text, of plain values only: without aliases, anchors and tags, of bounded depth and size."""
    import yaml

    text = parse_text(content, place).removeprefix("\ufeff")
    try:
        events = iter(yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        values = PlainValues(events, plain_loader()("")).document()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError("E-bundle", f"{place}{line}", f"is not plain YAML ({error.problem})", COPY) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = f"is not plain YAML ({' '.join(str(error).split())[:100]})"
        raise UserError("E-bundle", place, problem, COPY) from error
    if not isinstance(values, dict):
        raise UserError("E-bundle", place, "must be a mapping, as in `seed: 1`", COPY)
    return values


class PlainValues:
    """Builds mappings with text keys, lists, texts, numbers, truth values and null from the events of a YAML parser.

    Args:
        events: the events of `yaml.parse`; no more are read than the limits allow.
        loader: tells the type of a scalar, and makes it.
    """

    def __init__(self, events: Iterator[Any], loader: Any) -> None:
        self.events, self.loader, self.count = events, loader, 0

    def document(self) -> Any:
        """The only document of a stream; None where there is none."""
        import yaml

        for event in self.events:
            if isinstance(event, yaml.StreamEndEvent):
                return None
            if isinstance(event, yaml.DocumentStartEvent):
                break
        value = self.value(next(self.events), 0)
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self.refuse("a second document", event)
        return value

    def value(self, event: Any, depth: int) -> Any:
        """The value that begins with an event."""
        import yaml

        self.count += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise self.refuse("an alias or an anchor", event)
        if event.tag:
            raise self.refuse("a tag", event)
        if depth > MAX_DEPTH or self.count > MAX_NODES:
            raise self.refuse(f"more than {MAX_DEPTH} levels or {MAX_NODES:,} values", event)
        if isinstance(event, yaml.ScalarEvent):
            tag = self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
            return self.loader.construct_object(yaml.ScalarNode(tag, event.value))
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self.value(event, depth + 1))
            return items
        values = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self.value(event, MAX_DEPTH)
            if not isinstance(event, yaml.ScalarEvent) or event.value in values:
                raise self.refuse("a key that is no text, or that occurs twice", event)
            values[event.value] = self.value(next(self.events), depth + 1)
        return values

    def refuse(self, what: str, event: Any) -> Exception:
        """The error about something that plain settings never have."""
        from yaml.constructor import ConstructorError

        return ConstructorError(None, None, f"it holds {what}", event.start_mark)


@functools.cache
def plain_loader() -> Any:
    """The class that tells the types of YAML scalars: no dates, and numbers as OmegaConf reads them (`1e-3`)."""
    import yaml

    class Scalars(yaml.SafeLoader):
        """Resolves and makes scalars."""

    prefix = "tag:yaml.org,2002:"
    left_out = {f"{prefix}{name}" for name in ("timestamp", "merge", "value", "float")}
    table = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in left_out]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for first in "-+.0123456789":
        table[first] = [(f"{prefix}float", FLOAT), *table.get(first, [])]
    Scalars.yaml_implicit_resolvers = table
    return Scalars


def is_name(name: Any) -> bool:
    """Whether this is the plain name of a file, without folder."""
    return isinstance(name, str) and bool(NAME.fullmatch(name)) and not name.startswith(".")


def names_outside(values: Any) -> Iterator[str]:
    """The texts among settings that may name something outside of a folder: absolute, in a home, or with `..`."""
    if isinstance(values, dict):
        for value in values.values():
            yield from names_outside(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from names_outside(value)
    elif isinstance(values, str):
        parts = re.split(r"[/\\]", values)
        if ".." in parts or values[:1] in ("/", "\\", "~") or values[1:2] == ":":
            yield values
