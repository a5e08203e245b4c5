"""Data sets of the Hugging Face hub, of a folder in its formats, or of local files with the same data."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from seq2att.errors import UserError
from seq2att.files import resolve
from seq2att.files.description import describe_file
from seq2att.reader import Row, TableReader, digest
from seq2att.reader.columns import dig
from seq2att.reader.local import local_reader, rename
from seq2att.reader.tables import CHUNK, first_line, outer_columns
from seq2att.reader.text import Parallel
from seq2att.registry import Inherited, register, suggestion

COMMIT = re.compile(r"@([0-9a-f]{40})/")  # in the address of a file on the hub


@register("reader", "huggingface")
class HuggingFace(TableReader):
    """A Hugging Face data set: a name on the hub, or a folder (of `save_to_disk`, or of data files).

    With `files` and `data.root` the same data are read from local files, and the hub is not used. A class is given by
    its name.

    Args:
        path: name on the hub, or a folder.
        config: configuration of the data set.
        revision: branch, tag or commit; `refs/convert/parquet` for sets that are loading scripts.
        train: name of the training split.
        validation: name of the validation split; null for a part of the training rows.
        test: name of the test split; null for none.
        source: columns of the source; several are joined, null for no source. `translation.de` is a key in a column.
        files: local file of each split under `data.root`; without a suffix it is parallel text (`train.de`).
        columns: name or number of a column in the local files, where it differs from that on the hub.
        form: format of the local files; null: by their suffix.
    """

    takes_files = False  # the data set is opened as well

    def __init__(
        self,
        *,
        path: str,
        config: str | None = None,
        revision: str | None = None,
        train: str = "train",
        validation: str | None = "validation",
        test: str | None = "test",
        files: dict[str, str] | None = None,
        columns: dict[str, str] | None = None,
        form: Literal["parallel", "tsv", "csv", "jsonl", "parquet", "lines"] | None = None,
        **options: Inherited,
    ) -> None:
        names = [None if name is None else (name,) for name in (validation, test)]
        super().__init__(train=(train,), validation=names[0], test=names[1], **options)
        self.path, self.config, self.revision = path, config, revision
        self.loaded: dict[tuple[str, Path | None], Any] = {}  # what `load` gave
        if files is not None and set(files) != set(self.names):
            raise UserError("E-missing", f"reader.files={', '.join(files)}", f"must name {', '.join(self.names)}")
        self.local = None if files is None else local_reader(files, rename(self.columns, columns or {}), form)

    def use(self, split: str, name: str) -> None:
        super().use(split, name)
        if self.local is not None:
            self.local.use(split, name)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield the rows of the set, or of the local files in its place."""
        if self.local is not None and root is not None:
            yield from self.local.read(split, root)
            return
        data = self.load(split, root)
        name = f"{self.path}[{self.names[split][0]}]"
        outer = outer_columns(name, self.columns.names, data.column_names)
        classes = class_names(data.features)
        batches = data.select_columns(outer).with_format("arrow").iter(batch_size=CHUNK)
        records = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, record in enumerate(records, start=1):
            cells = [dig(record, column, f"{name}:{number}") for column in self.columns.names]
            pairs = zip(self.columns.names, cells, strict=True)
            named = [name_class(value, classes[column]) if column in classes else value for column, value in pairs]
            yield Row(self.columns.values(named, f"{name}:{number}"), name, number)

    def fingerprint(self, split: str, root: Path | None) -> str:
        if self.local is not None and root is not None:
            return self.local.fingerprint(split, root)
        folder = resolve("reader.path", self.path, root)
        if folder.is_dir():
            return digest(self, self.names[split][0], sorted(file for file in folder.rglob("*") if file.is_file()))
        data = self.load(split, root)
        names = (self.path, self.config, self.revision, self.names[split][0], self.columns)
        parts = (*names, data._fingerprint, len(data))
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def describe(self, split: str, root: Path | None) -> str:
        return "" if self.local is None or root is None else self.local.describe(split, root)

    def origin(self, split: str, root: Path | None) -> dict[str, Any]:
        """The files where the data are local; else the fingerprint, and the commit on the hub where it is known."""
        if self.local is not None and root is not None:
            return self.local.origin(split, root)
        folder = resolve("reader.path", self.path, root)
        if folder.is_dir():
            return {"files": [describe_file(file, root) for file in sorted(folder.rglob("*")) if file.is_file()]}
        return {"commit": hub_commit(self.load(split, root)), "fingerprint": self.fingerprint(split, root)}

    def check(self, root: Path | None) -> None:
        if self.local is not None and root is not None:
            self.local.check(root)

    def load(self, split: str, root: Path | None) -> Any:
        """A split as a `datasets.Dataset`, memory-mapped and loaded once; `E-hub` where it cannot be fetched."""
        key = (self.names[split][0], root)
        if key not in self.loaded:
            self.loaded[key] = self.fetch(split, root)
        return self.loaded[key]

    def fetch(self, split: str, root: Path | None) -> Any:
        """Load a split, from the hub if it is no local folder."""
        import datasets

        folder = resolve("reader.path", self.path, root)
        try:
            if folder.is_dir():
                return load_folder(folder, self.config, self.names[split][0])
            with log_errors_only("huggingface_hub"):
                return datasets.load_dataset(self.path, self.config, split=self.names[split][0], revision=self.revision)
        except UserError:
            raise
        except Exception as error:  # whatever the hub, the network and their libraries raise
            raise UserError(
                "E-hub",
                f"reader.path={self.path}",
                f"cannot load split {self.names[split][0]!r} ({first_line(error)})",
                f"check network and names (reader.{split}=null where there is no such split); a set that is a script "
                f"needs reader.revision=refs/convert/parquet; without a network, {self.without_network()}",
            ) from error

    def without_network(self) -> str:
        """The remedy where the hub cannot be reached."""
        if self.local is None:
            return "set reader.path to a local folder, or data.root=DIR and reader=parallel (or tsv, csv, jsonl)"
        (train,) = self.local.names["train"]
        names = [f"{train}.{suffix}" for suffix in self.local.suffixes] if isinstance(self.local, Parallel) else [train]
        return f"set data.root=DIR to a folder that holds {', '.join(names)} and so on"


def hub_commit(data: Any) -> str | None:
    """The commit on the hub that a `datasets.Dataset` was made from, by the addresses of its files; None if unknown."""
    addresses = getattr(data.info, "download_checksums", None) or {}
    commits = {match[1] for address in addresses if (match := COMMIT.search(str(address)))}
    return commits.pop() if len(commits) == 1 else None


def class_names(features: Mapping[str, Any]) -> dict[str, dict[Any, str]]:
    """The class names of every column of class numbers, or of lists of them; -1, no class, has none."""
    items = ((column, getattr(feature, "feature", feature)) for column, feature in features.items())
    named = ((column, getattr(item, "names", None)) for column, item in items)
    return {column: dict(enumerate(names)) for column, names in named if isinstance(names, list)}


def name_class(value: Any, names: Mapping[Any, str]) -> Any:
    """The name of a class, or of each in a list."""
    return [names.get(number) for number in value] if isinstance(value, list) else names.get(value)


@contextlib.contextmanager
def log_errors_only(library: str) -> Iterator[None]:
    """Let a library log errors only: one message about a missing network is enough."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(before)


def load_folder(folder: Path, config: str | None, split: str) -> Any:
    """Load a split of a folder that `save_to_disk` wrote, or of data files named by their splits."""
    import datasets

    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        csv = next((file for pattern in ("*.csv", "*.tsv") for file in folder.rglob(pattern)), None)
        if csv is not None:  # `datasets` would read "NA" as missing, and digits as numbers
            raise UserError("E-conflict", f"reader.path={folder}", f"{csv} is a table", f"set reader={csv.suffix[1:]}")
        return datasets.load_dataset(str(folder), config, split=split)
    saved = datasets.load_from_disk(str(folder))
    splits = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
    if split not in splits:
        remedy = f"{suggestion(split, splits)}; set reader.{split}=null for none"
        raise UserError("E-split", f"reader.path={folder}", f"there is no split {split!r}", remedy)
    return splits[split]
