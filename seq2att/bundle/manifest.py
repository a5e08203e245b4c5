"""The manifest of a bundle, and the one reader of a bundle's files: nothing is opened that was not checked before.

`manifest.json` names the format, every file that loading opens with its size and SHA-256, and every tensor with its
type and shape. Bundles of format 1 have none; their files are read under the same limits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.bundle.weights import Place
from seq2att.config.saved import CONFIG, FORMAT, MAX_BYTES, Saved, parse_saved
from seq2att.errors import UserError
from seq2att.files.untrusted import COPY, file_names, is_name, parse_json, read_regular, regular_size

MANIFEST, WEIGHTS = "manifest.json", "model.safetensors"
SIDES = ("source", "target")
MAX_MANIFEST = 4 << 20
DIGEST = re.compile(r"[0-9a-f]{64}")
CHANGED = "copy the folder again; if you changed it on purpose, delete manifest.json and set `format: 1` in config.yaml"


class FileRecord(NamedTuple):
    """What the manifest says of a file."""

    size: int
    sha256: str


class Manifest(NamedTuple):
    """The content of `manifest.json`."""

    number: int  # of the format
    files: Mapping[str, FileRecord]
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]  # the type and the shape of each


def format_manifest(files: Mapping[str, bytes], tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    """The text of the manifest of these files."""
    content = {
        "format": FORMAT,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
        "tensors": {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in tensors.items()},
    }
    lines = (
        f" {json.dumps(key)}: " + (format_block(value) if isinstance(value, dict) else json.dumps(value))
        for key, value in content.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def format_block(values: Mapping[str, Any]) -> str:
    """A mapping as JSON, with a line for each of its values."""
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items()) + "\n }"


def parse_manifest(content: bytes | bytearray, place: str) -> Manifest:
    """The manifest in the content of its file; `E-bundle` for anything that `format_manifest` does not write."""
    values = parse_json(content, place)
    try:
        if values["format"] > FORMAT:
            problem = f"its format {values['format']} is newer than this seq2att reads ({FORMAT})"
            raise UserError("E-bundle", place, problem, "upgrade seq2att")
        files = {str(name): FileRecord(record["size"], record["sha256"]) for name, record in values["files"].items()}
        tensors = {str(name): (record["dtype"], tuple(record["shape"])) for name, record in values["tensors"].items()}
        is_right = all(
            [
                type(values["format"]) is int,
                CONFIG in files and WEIGHTS in files,
                all(map(is_member, files)),
                all(type(size) is int and size >= 0 and DIGEST.fullmatch(digest) for size, digest in files.values()),
                all(isinstance(dtype, str) for dtype, _ in tensors.values()),
                all(type(size) is int and size >= 0 for _, shape in tensors.values() for size in shape),
            ]
        )
    except (AttributeError, KeyError, TypeError):
        is_right = False
    if not is_right:
        raise UserError("E-bundle", place, "is not the manifest of a bundle", COPY)
    return Manifest(values["format"], files, tensors)


def is_member(name: str) -> bool:
    """Whether a bundle may have a file of this name."""
    side, _, rest = name.partition("/")
    return name in (CONFIG, WEIGHTS) or (side in SIDES and is_name(rest))


class Reader:
    """Reads the files of a bundle: regular files inside of its folder, of bounded size, that match the manifest.

    Args:
        path: the folder; `E-bundle` where it holds no bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest | None = None
        if os.path.lexists(path / MANIFEST):
            self.manifest = parse_manifest(read_regular(path / MANIFEST, MAX_MANIFEST), f"{path / MANIFEST}")
        self.saved = self.read_settings()

    def read_settings(self) -> Saved:
        """The settings of the bundle, of the same format as its manifest."""
        saved = parse_saved(self.read(CONFIG, MAX_BYTES), f"{self.path / CONFIG}")
        if self.manifest is None and saved.number > 1:
            problem = f"{MANIFEST} is missing, which every bundle of format {saved.number} has"
            raise UserError("E-bundle", f"{self.path}", problem, CHANGED)
        if self.manifest is not None and self.manifest.number != saved.number:
            problem = f"its format is {self.manifest.number}, that of {CONFIG} {saved.number}"
            raise UserError("E-bundle", f"{self.path / MANIFEST}", problem, COPY)
        return saved

    def size(self, name: str) -> int:
        """The size of a file, which is that of the manifest."""
        size = regular_size(self.path / name)
        if self.manifest is not None and size != self.manifest.files[name].size:
            problem = f"has {size:,} bytes, {MANIFEST} says {self.manifest.files[name].size:,}"
            raise UserError("E-bundle", f"{self.path / name}", problem, CHANGED)
        return size

    def read(self, name: str, limit: int) -> bytearray:
        """The content of a file of at most `limit` bytes, whose digest is that of the manifest."""
        self.size(name)
        content = read_regular(self.path / name, limit)
        if self.manifest is not None and hashlib.sha256(content).hexdigest() != self.manifest.files[name].sha256:
            problem = f"has another content than {MANIFEST} says"
            raise UserError("E-bundle", f"{self.path / name}", problem, CHANGED)
        return content

    def digest(self) -> str:
        """A digest of everything that loading opens."""
        if self.manifest is None:
            names = [CONFIG, WEIGHTS, *(f"{side}/{name}" for side in SIDES for name in file_names(self.path / side))]
            digests = {name: hashlib.sha256(self.read(name, self.size(name))).hexdigest() for name in sorted(names)}
        else:
            digests = {name: record.sha256 for name, record in sorted(self.manifest.files.items())}
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def check_tensors(self, places: Mapping[str, Place]) -> None:
        """Raise `E-bundle` unless these are the tensors of the manifest."""
        described = {name: (place.dtype, place.shape) for name, place in places.items()}
        if self.manifest is not None and described != self.manifest.tensors:
            raise UserError("E-bundle", f"{self.path / WEIGHTS}", f"has other tensors than {MANIFEST} says", COPY)

    def field_files(self, side: str, limit: int) -> dict[str, bytes]:
        """The files of a field by their names, together of at most `limit` bytes."""
        names = file_names(self.path / side)  # refuses a link in the place of the folder
        if self.manifest is not None:
            names = [name.partition("/")[2] for name in self.manifest.files if name.startswith(f"{side}/")]
        contents: dict[str, bytes] = {}
        for name in sorted(names):
            contents[name] = bytes(self.read(f"{side}/{name}", limit))
            limit -= len(contents[name])
        return contents
