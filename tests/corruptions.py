"""Damaged and hostile bundles: what may come from a broken disk, a bad copy, or somebody who means harm.

`LISTED` names the corruptions; each function changes a good bundle in a folder. `random_corruption` makes any number
more from a seed. What follows must be one line (`UserError`) or a right answer, in a second and 500 MB.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file, save

from seq2att.bundle.manifest import MANIFEST, WEIGHTS, format_manifest
from seq2att.bundle.weights import read_header
from seq2att.errors import UserError

Corruption = Callable[[Path], None]

CONFIG = "config.yaml"
PIECES = ("source/pieces.json", "target/pieces.json")
OPENED = (CONFIG, WEIGHTS, MANIFEST, *PIECES)
EVIL = "import os, pathlib; pathlib.Path(os.environ['EXECUTED']).touch()\n"


class Evil:
    """Executes when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (EVIL,)


# -- tools --


def seal(path: Path) -> None:
    """Write the manifest that fits the files, as somebody who means harm would."""
    files = {CONFIG, WEIGHTS, *(file.relative_to(path).as_posix() for file in path.glob("[st][oa][ur]*/*"))}
    contents = {name: (path / name).read_bytes() for name in sorted(files)}
    try:
        places = read_header(path / WEIGHTS)
    except UserError:
        places = {}
    tensors = {name: (place.dtype, place.shape) for name, place in places.items()}
    (path / MANIFEST).write_text(format_manifest(contents, tensors))


def unseal(path: Path) -> None:
    """Make a bundle of format 1, which has no manifest."""
    (path / MANIFEST).unlink()
    (path / CONFIG).write_bytes((path / CONFIG).read_bytes().replace(b"format: 2", b"format: 1"))


def settings(change: Callable[[dict[str, Any]], Any]) -> Corruption:
    """Change the settings and seal them."""

    def corrupt(path: Path) -> None:
        config = yaml.safe_load((path / CONFIG).read_text())
        change(config)
        (path / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
        seal(path)

    return corrupt


def setting(key: str, value: Any) -> Corruption:
    """Set one key, as `encoder.size`, and seal it."""

    def change(config: dict[str, Any]) -> None:
        *names, last = key.split(".")
        for name in names:
            config = config[name]
        config[last] = value

    return settings(change)


def content(name: str, data: bytes | str, is_sealed: bool = True) -> Corruption:
    """Replace the content of a file."""

    def corrupt(path: Path) -> None:
        (path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        if is_sealed:
            seal(path)

    return corrupt


def tensors(change: Callable[[dict[str, Any]], Any]) -> Corruption:
    """Change the arrays of the weights, and seal them."""

    def corrupt(path: Path) -> None:
        arrays = {name: array.copy() for name, array in load_file(path / WEIGHTS).items()}
        change(arrays)
        (path / WEIGHTS).write_bytes(save(arrays))
        seal(path)

    return corrupt


def header(change: Callable[[dict[str, Any]], Any]) -> Corruption:
    """Change the header of the weights, and seal them."""

    def corrupt(path: Path) -> None:
        data = (path / WEIGHTS).read_bytes()
        end = 8 + int.from_bytes(data[:8], "little")
        values = json.loads(data[8:end])
        changed = change(values)
        text = json.dumps(values).encode() if changed is None else changed
        (path / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
        seal(path)

    return corrupt


def manifest(change: Callable[[dict[str, Any]], Any]) -> Corruption:
    """Change the manifest."""

    def corrupt(path: Path) -> None:
        values = json.loads((path / MANIFEST).read_text())
        change(values)
        (path / MANIFEST).write_text(json.dumps(values))

    return corrupt


def then(*steps: Corruption) -> Corruption:
    """Several corruptions, one after the other."""

    def corrupt(path: Path) -> None:
        for step in steps:
            step(path)

    return corrupt


# -- the kinds of files --


def remove(file: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()


def replace(file: Path, make: Callable[[Path], Any]) -> None:
    """Put something else in the place of a file."""
    remove(file)
    make(file)


def sparse(size: int) -> Callable[[Path], None]:
    """A file of zeros that takes no space on the disk."""

    def make(file: Path) -> None:
        with file.open("wb") as stream:
            stream.truncate(size)

    return make


def truncate(file: Path) -> None:
    """Keep the first half."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


IN_PLACE: dict[str, Callable[[Path], Any]] = {
    "missing": remove,
    "empty": lambda file: file.write_bytes(b""),
    "half": truncate,
    "garbage": lambda file: file.write_bytes(random.Random(1).randbytes(5000)),
    "zeros": lambda file: file.write_bytes(bytes(5000)),
    "sparse 7 GB": lambda file: replace(file, sparse(7 << 30)),
    "folder": lambda file: replace(file, Path.mkdir),
    "link to passwd": lambda file: replace(file, lambda place: place.symlink_to("/etc/passwd")),
    "link to zero": lambda file: replace(file, lambda place: place.symlink_to("/dev/zero")),
    "link to itself": lambda file: replace(file, lambda place: place.symlink_to(place)),
    "named pipe": lambda file: replace(file, os.mkfifo),
}
FIRST = "embedding.weight"


def bomb(levels: int = 40) -> str:
    """The "billion laughs": every line doubles the one before it."""
    lines = ["a0: &a0 [ha, ha]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def appended(text: str) -> Corruption:
    """Add lines to the settings, and seal them."""

    def corrupt(path: Path) -> None:
        with (path / CONFIG).open("a") as stream:
            stream.write(text)
        seal(path)

    return corrupt


YAMLS: dict[str, Corruption] = {
    "bomb": content(CONFIG, bomb()),
    "bomb below settings": appended(bomb()),
    "deep flow": content(CONFIG, "a: " + "[" * 100_000),
    "deep block": content(CONFIG, "".join(" " * n + "a:\n" for n in range(1000))),
    "many values": content(CONFIG, "a: [" + "x, " * 200_000 + "]"),
    "python object": content(CONFIG, f"a: !!python/object/apply:exec [{json.dumps(EVIL)}]"),
    "python name": appended("evil: !!python/name:os.system\n"),
    "binary tag": appended("evil: !!binary aGVsbG8=\n"),
    "anchor": appended("evil: &a 1\n"),
    "merge": appended("evil: {<<: {a: 1}}\n"),
    "twice": appended("seed: 2\n"),
    "two documents": appended("---\nseed: 2\n"),
    "a list": content(CONFIG, "[1, 2]"),
    "a text": content(CONFIG, "hello"),
    "not closed": content(CONFIG, "a: [1, 2\nb: 3"),
    "not UTF-8": content(CONFIG, b"recipe: \xff\xfe\n"),
    "NUL": content(CONFIG, b"recipe: \x00\n"),
    "long number": appended("evil: " + "9" * 5000 + "\n"),
    "an interpolation": setting("recipe", "${oc.env:HOME}"),
    "a missing value": setting("recipe", "???"),
    "defaults": settings(lambda config: config.update(defaults=["/etc/passwd"])),
    "requires": settings(lambda config: config.update(requires={"os": "x"})),
    "newer format": setting("format", 99),
    "format is text": setting("format", "two"),
    "format is true": setting("format", True),
    "format 0": setting("format", 0),
    "earlier format": setting("format", 1),
}
WRONG: dict[str, tuple[Any, ...]] = {
    "encoder.size": (10**12, -1, 0, 1.5, "big", None, [4], {"a": 1}, True),
    "encoder.layers": (10**9, 10**6, 0),
    "encoder.name": ("grru", ["gru"], None, 5, {}),
    "source.embedding_size": (10**15, 2**63, "x"),
    "source.dropout": (float("nan"), 7, "x"),
    "source.tokenizer": ({}, {"name": "nosuch"}, 5, {"name": "word", "pattern": "("}),
    "target": (None, {"name": "label"}, {"name": "text"}),
    "decoder.bridge": ("nosuch", 3),
    "head": ({"name": "classification"}, {"name": "translation", "label_smoothing": "x"}, {"nam": "x"}),
    "share": ("embedding", 3),
    "search.size": ("x", -1),
    "nosuch": (1, {"name": "x"}),
}
SETTINGS: dict[str, Corruption] = {
    f"{key}={str(value)[:30]}": setting(key, value) for key, values in WRONG.items() for value in values
}
TOP = (
    "recipe seed run overwrite plugins share metrics callbacks loggers head source target encoder decoder attention "
    "output search reader optimizer schedule data trainer"
).split()
WEIGHTS_: dict[str, Corruption] = {
    "not a number": tensors(lambda arrays: arrays[FIRST].fill(np.nan)),
    "one infinity": tensors(lambda arrays: arrays[FIRST].__setitem__((0, 0), np.inf)),
    "another shape": tensors(lambda arrays: arrays.update({FIRST: arrays[FIRST].T.copy()})),
    "flat": tensors(lambda arrays: arrays.update({FIRST: arrays[FIRST].ravel()})),
    "one of float64": tensors(lambda arrays: arrays.update({FIRST: arrays[FIRST].astype(np.float64)})),
    "whole numbers": tensors(lambda arrays: arrays.update({FIRST: arrays[FIRST].astype(np.int32)})),
    "an extra one": tensors(lambda arrays: arrays.update(extra=np.zeros(3, np.float32))),
    "one missing": tensors(lambda arrays: arrays.pop(FIRST)),
    "none": tensors(lambda arrays: arrays.clear()),
    "header is no JSON": header(lambda values: b"{" * 100),
    "header is deep": header(lambda values: b'{"a":' * 50_000),
    "header is a list": header(lambda values: b"[1]"),
    "header is long": header(lambda values: b" " * (5 << 20) + b"{}"),
    "offsets overlap": header(lambda values: values[FIRST].update(data_offsets=[4, 132])),
    "offsets beyond": header(lambda values: values[FIRST].update(data_offsets=[0, 10**15])),
    "offsets negative": header(lambda values: values[FIRST].update(data_offsets=[-8, 120])),
    "shape negative": header(lambda values: values[FIRST].update(shape=[-8, -4])),
    "shape is text": header(lambda values: values[FIRST].update(shape="8x4")),
    "shape is huge": header(lambda values: values[FIRST].update(shape=[10**9, 10**9, 10**9])),
    "shape is true": header(lambda values: values[FIRST].update(shape=[True, 32])),
    "unknown type": header(lambda values: values[FIRST].update(dtype="F8")),
    "type is a list": header(lambda values: values[FIRST].update(dtype=["F32"])),
    "no offsets": header(lambda values: values[FIRST].__delitem__("data_offsets")),
    "header length 0": content(WEIGHTS, bytes(8) + b"{}"),
    "header length too large": content(WEIGHTS, b"\xff" * 8 + b"{}"),
    "header length beyond": content(WEIGHTS, (10**6).to_bytes(8, "little") + b"{}"),
    "a pickle": content(WEIGHTS, pickle.dumps(Evil())),
}
VOCABULARIES: dict[str, Corruption] = {
    "a piece twice": content(PIECES[0], '["a", "b", "c", "a"]'),
    "not UTF-8": content(PIECES[0], b'["a", "b", "c", "\xff"]'),
    "numbers": content(PIECES[0], "[1, 2, 3, 4]"),
    "a mapping": content(PIECES[0], '{"a": 1}'),
    "a number": content(PIECES[0], "5"),
    "null": content(PIECES[0], "null"),
    "too few": content(PIECES[1], '["a"]'),
    "too many": content(PIECES[1], json.dumps([f"a{n}" for n in range(3000)])),
    "far too many": content(PIECES[1], json.dumps([f"a{n}" for n in range(300_000)])),
    "deep": content(PIECES[1], "[" * 100_000),
    "NaN": content(PIECES[1], "[NaN]"),
    "another file": lambda path: (path / PIECES[0]).rename(path / "source/words.json") and seal(path),
}
MANIFESTS: dict[str, Corruption] = {
    "newer": manifest(lambda values: values.update(format=99)),
    "format is text": manifest(lambda values: values.update(format="2")),
    "format is 1": manifest(lambda values: values.update(format=1)),
    "no files": manifest(lambda values: values.update(files={})),
    "files is a list": manifest(lambda values: values.update(files=[])),
    "a parent folder": manifest(lambda values: values["files"].update({"../../etc/passwd": {"size": 1, "sha256": ""}})),
    "a file above": manifest(lambda values: values["files"].update({"source/../x": values["files"][CONFIG]})),
    "an absolute path": manifest(lambda values: values["files"].update({"/etc/passwd": values["files"][CONFIG]})),
    "a size": manifest(lambda values: values["files"][WEIGHTS].update(size=3)),
    "a negative size": manifest(lambda values: values["files"][WEIGHTS].update(size=-3)),
    "a digest": manifest(lambda values: values["files"][CONFIG].update(sha256="0" * 64)),
    "no digest": manifest(lambda values: values["files"][CONFIG].update(sha256=None)),
    "other shapes": manifest(lambda values: values["tensors"][FIRST].update(shape=[1])),
    "no tensors": manifest(lambda values: values.update(tensors={})),
    "tensors is a number": manifest(lambda values: values.update(tensors=3)),
    "not JSON": content(MANIFEST, "{", is_sealed=False),
    "deep": content(MANIFEST, "[" * 100_000, is_sealed=False),
    "a list": content(MANIFEST, "[]", is_sealed=False),
}


def in_folder(name: str, make: Callable[[Path], Any]) -> Corruption:
    """Put something beside the files of a bundle of format 1, which names none."""

    def corrupt(path: Path) -> None:
        unseal(path)
        make(path / name)

    return corrupt


def many(file: Path) -> None:
    """A thousand files."""
    for number in range(1000):
        (file.parent / f"{number}.json").write_text("[]")


FOLDERS: dict[str, Corruption] = {
    "source/zero -> /dev/zero": in_folder("source/zero", lambda file: file.symlink_to("/dev/zero")),
    "source/passwd -> /etc/passwd": in_folder("source/passwd", lambda file: file.symlink_to("/etc/passwd")),
    "source/pipe": in_folder("source/pipe", lambda file: os.mkfifo(file)),
    "source/large": in_folder("source/large", sparse(7 << 30)),
    "source/folder": in_folder("source/folder", lambda file: file.mkdir()),
    "source/many": in_folder("source/many", many),
    "source -> /etc": in_folder("source", lambda file: replace(file, lambda place: place.symlink_to("/etc"))),
    "source is a file": in_folder("source", lambda file: replace(file, Path.touch)),
    "source is a pipe": in_folder("source", lambda file: replace(file, os.mkfifo)),
    "source is missing": in_folder("source", remove),
    "linked in a sealed one": lambda path: replace(
        path / "source", lambda place: place.symlink_to(shutil.copytree(path / "target", path / "elsewhere"))
    ),
}
HARMLESS: dict[str, Corruption] = {
    "plugins beside it": then(
        lambda path: [(path / name).write_text(EVIL) for name in ("evil.py", "__init__.py", "conftest.py")],
        setting("plugins", ["evil.py", "__init__.py", "conftest"]),
    ),
    "a hostile checkpoint": lambda path: [
        (path / "checkpoints").mkdir(),
        (path / "checkpoints/last.ckpt").write_bytes(pickle.dumps(Evil())),
    ],
    "metrics are a pipe": lambda path: replace(path / "metrics.json", os.mkfifo),
    "readme is a device": lambda path: replace(path / "README.md", lambda place: place.symlink_to("/dev/zero")),
    "data are passwd": setting("reader", {"name": "tsv", "train": "/etc/passwd", "test": "/etc/passwd"}),
    "hidden files": lambda path: (path / "source/.DS_Store").write_bytes(b"\x00"),
    "no manifest, format 1": unseal,
    "an unknown callback": setting("callbacks", ["nosuch"]),
    "an unknown reader": setting("reader", {"name": "nosuch", "file": "/etc/passwd"}),
}
"""What changes no answer: these bundles load."""


def wrong_top(key: str) -> Corruption:
    """A value of a wrong type for a setting at the top."""

    def change(config: dict[str, Any]) -> None:
        config[key] = [[{"a": [1]}]] if not isinstance(config.get(key), list) else {"a": {"b": 1}}

    return settings(change)


def listed() -> Iterator[tuple[str, Corruption]]:
    """Every corruption that must be refused, by its name."""
    for name in OPENED:
        for kind, make in IN_PLACE.items():
            yield f"{name}: {kind}", lambda path, name=name, make=make: make(path / name)  # type: ignore[misc]
    groups: dict[str, Mapping[str, Corruption]] = {
        "yaml": YAMLS,
        "settings": SETTINGS,
        "top": {key: wrong_top(key) for key in TOP},
        "weights": WEIGHTS_,
        "vocabulary": VOCABULARIES,
        "manifest": MANIFESTS,
        "folder": FOLDERS,
    }
    for group, corruptions in groups.items():
        for name, corrupt in corruptions.items():
            yield f"{group}: {name}", corrupt


LISTED = dict(listed())


# -- at random --


def random_corruption(path: Path, seed: int) -> None:
    """Damage a bundle in one to three ways, and seal it, leave it, or take its manifest."""
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 3)):
        draw.choice((flip, cut, insert, swap, mutate_yaml, mutate_json, mutate_header))(path, draw)
    state = draw.choice(("sealed", "sealed", "as it is", "unsealed"))
    if state == "sealed":
        seal(path)
    elif state == "unsealed":
        unseal(path)


def some_file(path: Path, draw: random.Random) -> Path:
    """One of the files that loading opens."""
    return path / draw.choice(OPENED)


def flip(path: Path, draw: random.Random) -> None:
    """Flip some bits."""
    file = some_file(path, draw)
    data = bytearray(file.read_bytes())
    for _ in range(draw.choice((1, 1, 4, 40))):
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    """Remove a part."""
    file = some_file(path, draw)
    data = file.read_bytes()
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    file.write_bytes(data[:start] + (b"" if draw.random() < 0.5 else data[end:]))


def insert(path: Path, draw: random.Random) -> None:
    """Insert random bytes, or a part once more."""
    file = some_file(path, draw)
    data = file.read_bytes()
    place = draw.randrange(len(data) + 1)
    more = draw.randbytes(draw.randint(1, 50)) if draw.random() < 0.5 else data[place : place + 100]
    file.write_bytes(data[:place] + more + data[place:])


def swap(path: Path, draw: random.Random) -> None:
    """Exchange two files."""
    one, other = some_file(path, draw), some_file(path, draw)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def any_value(draw: random.Random) -> Any:
    """A value that the place of another may get."""
    numbers = (0, -1, 1, 2, 7, 2**31, 2**63, 10**12, 10**30, 0.5, -0.0, 1e300, float("nan"), float("inf"))
    texts = ("", "a", "gru", "word", "null", "../x", "/etc/passwd", "é\u2028", "x" * 5000, "\ud800")
    others: tuple[Any, ...] = (None, True, False, [], {}, [1], ["a"], {"name": "gru"}, [[[[]]]], {"a": {"b": {}}})
    return draw.choice(draw.choice((numbers, texts, others)))


def mutate(values: Any, draw: random.Random) -> Any:
    """Replace, remove or double one value somewhere inside."""
    if not isinstance(values, dict | list) or not values or draw.random() < 0.1:
        return any_value(draw)
    key = draw.choice(list(values) if isinstance(values, dict) else range(len(values)))
    if draw.random() < 0.15:
        del values[key]
    elif draw.random() < 0.1:
        if isinstance(values, dict):
            values[draw.choice(("name", "nosuch", "size", "data_offsets", str(key) + "x"))] = any_value(draw)
        else:
            values.append(any_value(draw))
    else:
        values[key] = mutate(values[key], draw)
    return values


def mutate_yaml(path: Path, draw: random.Random) -> None:
    """Change a setting."""
    try:
        config = yaml.safe_load((path / CONFIG).read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        return
    for _ in range(draw.randint(1, 3)):
        config = mutate(config, draw)
    (path / CONFIG).write_bytes(yaml.safe_dump(config, sort_keys=False, allow_unicode=False).encode())


def mutate_json(path: Path, draw: random.Random) -> None:
    """Change a value in a vocabulary or the manifest."""
    file = path / draw.choice((*PIECES, MANIFEST))
    try:
        file.write_text(json.dumps(mutate(json.loads(file.read_bytes()), draw)))
    except ValueError:
        return


def mutate_header(path: Path, draw: random.Random) -> None:
    """Change a value in the header of the weights."""
    data = (path / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        text = json.dumps(mutate(json.loads(data[8:end]), draw)).encode()
    except ValueError:
        return
    (path / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
