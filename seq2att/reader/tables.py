"""Readers of tables: parquet files, and data sets of the Hugging Face hub or of a folder in its formats."""

from __future__ import annotations

import glob
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2att.errors import UserError
from seq2att.reader import SPLITS, FileReader, Reader, Row
from seq2att.reader.files import digest, find_file, resolve
from seq2att.reader.text import Parallel, dig
from seq2att.registry import known, register

CHUNK = 4096  # rows that are turned into Python values at once


@register("reader", "parquet")
class Parquet(FileReader):
    """Parquet files; a name may be a pattern such as `train-*.parquet`."""

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        source: str = "source",
        target: str | None = "target",
    ) -> None:
        super().__init__(train, validation, test)
        self.columns = [column for column in (source, target) if column is not None]

    def files(self, split: str, root: Path | None) -> list[Path]:
        name = self.names[split]
        found = sorted(glob.glob(str(resolve(name, root)))) if glob.has_magic(name) else []
        return [Path(file) for file in found] or [find_file(f"reader.{split}", name, root)]

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        from pyarrow import ArrowException, parquet

        for file in self.files(split, root):
            try:
                table = parquet.ParquetFile(file)
                outer = outer_columns(str(file), self.columns, table.schema_arrow.names)
                batches = (batch.to_pylist() for batch in table.iter_batches(batch_size=CHUNK, columns=outer))
                for number, record in enumerate(itertools.chain.from_iterable(batches), start=1):
                    values = tuple(dig(record, column, f"{file}:{number}") for column in self.columns)
                    yield Row(values, file.name, number)
            except (ArrowException, OSError) as error:
                raise UserError(f"{file}: cannot be read as parquet ({first_line(error)}); write it anew") from error


def outer_columns(place: str, columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of a table that hold the asked ones, `translation` of `translation.de`."""
    outer = [column if column in names else column.partition(".")[0] for column in columns]
    for column, name in zip(columns, outer, strict=True):
        if name not in names:
            raise UserError(f"{place}: no column {column!r}{known(name, names)}; set reader.source and reader.target")
    return list(dict.fromkeys(outer))


def first_line(error: Exception) -> str:
    """An error of another library in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@register("reader", "huggingface")
class HuggingFace(Reader):
    """A Hugging Face data set: a name on the hub, or a folder (of `save_to_disk`, or of data files)."""

    def __init__(
        self,
        *,
        path: str,
        config: str | None = None,
        revision: str | None = None,
        train: str = "train",
        validation: str | None = "validation",
        test: str | None = "test",
        source: str = "source",
        target: str | None = "target",
        files: dict[str, str] | None = None,
    ) -> None:
        """Remember the names; no file is touched and nothing is fetched.

        `files` says under which names the same data lies as parallel text: with `{train: train, validation: val}`,
        `source=de` and `target=en`, and where `data.root` is set, `train.de`, `train.en`, `val.de` and `val.en` are
        read from there, and the hub is not asked.
        """
        self.path, self.config, self.revision = path, config, revision
        self.names = {split: name for split, name in zip(SPLITS, (train, validation, test), strict=True) if name}
        self.columns = [column for column in (source, target) if column is not None]
        self.parallel = None if files is None else self.beside(files)

    def beside(self, files: Mapping[str, str]) -> Parallel:
        """The reader of the same data as parallel text."""
        if set(files) != set(self.names):
            raise UserError(f"reader.files: names {', '.join(files) or 'nothing'}; name {', '.join(self.names)}")
        suffixes = [column.rpartition(".")[2] for column in self.columns]
        return Parallel(
            train=files["train"],
            validation=files.get("validation"),
            test=files.get("test"),
            source=suffixes[0],
            target=suffixes[1] if len(suffixes) > 1 else None,
        )

    def splits(self) -> tuple[str, ...]:
        return tuple(self.names)

    def use(self, split: str, name: str) -> None:
        self.names[split] = name
        if self.parallel is not None:
            self.parallel.use(split, name)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        if self.parallel is not None and root is not None:
            yield from self.parallel.read(split, root)
            return
        data = self.load(split, root)
        outer = outer_columns(f"{self.path}[{self.names[split]}]", self.columns, data.column_names)
        name = f"{self.path}[{self.names[split]}]"
        batches = data.select_columns(outer).with_format("arrow").iter(batch_size=CHUNK)
        records = itertools.chain.from_iterable(batch.to_pylist() for batch in batches)
        for number, record in enumerate(records, start=1):
            yield Row(tuple(dig(record, column, f"{name}:{number}") for column in self.columns), name, number)

    def fingerprint(self, split: str, root: Path | None) -> str:
        if self.parallel is not None and root is not None:
            return self.parallel.fingerprint(split, root)
        folder = resolve(self.path, root)
        if folder.is_dir():
            return digest(self, self.names[split], sorted(file for file in folder.rglob("*") if file.is_file()))
        data = self.load(split, root)
        parts = (self.path, self.config, self.revision, self.names[split], self.columns, data._fingerprint, len(data))
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()

    def check(self, root: Path | None) -> None:
        if self.parallel is not None and root is not None:
            self.parallel.check(root)

    def load(self, split: str, root: Path | None) -> Any:
        """One split as a `datasets.Dataset`, memory-mapped; raises UserError with what to do without a network."""
        import datasets

        folder = resolve(self.path, root)
        try:
            if folder.is_dir():
                return load_folder(folder, self.config, self.names[split])
            return datasets.load_dataset(self.path, self.config, split=self.names[split], revision=self.revision)
        except UserError:
            raise
        except Exception as error:  # whatever the hub, the network and their libraries raise
            raise UserError(
                f"reader.path: cannot load split {self.names[split]!r} of {self.path!r} ({first_line(error)}); check "
                f"network and names (reader.{split}=null where there is no such split); a set that is a script "
                f"needs reader.revision=refs/convert/parquet; without a network, {self.without_network()}"
            ) from error

    def without_network(self) -> str:
        """What to do where the hub cannot be reached."""
        if self.parallel is not None:
            names = ", ".join(f"{self.parallel.names['train']}.{suffix}" for suffix in self.parallel.suffixes)
            return f"set data.root=DIR to a folder that holds {names} and so on"
        return "set reader.path to a local folder, or data.root=DIR and reader=parallel (or tsv, csv, jsonl)"


def load_folder(folder: Path, config: str | None, split: str) -> Any:
    """One split of a folder that `save_to_disk` wrote, or that holds data files whose names tell their splits."""
    import datasets

    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        csv = next((file for pattern in ("*.csv", "*.tsv") for file in folder.rglob(pattern)), None)
        if csv is not None:  # `datasets` would take "NA" for nothing there, and numbers for numbers
            raise UserError(f"reader.path: {csv} is read as it stands by reader={csv.suffix[1:]}; use that")
        return datasets.load_dataset(str(folder), config, split=split)
    saved = datasets.load_from_disk(str(folder))
    splits = saved if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
    if split not in splits:
        raise UserError(f"reader: {folder} has no split {split!r}{known(split, splits)}; a split set to null is none")
    return splits[split]
