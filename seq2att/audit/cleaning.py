"""Cleaned copies of files: without the rows that errors and warnings are about, or with their text repaired."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.audit.findings import Finding
from seq2att.audit.intake import relative
from seq2att.audit.labels import spelling
from seq2att.audit.repairing import repair
from seq2att.audit.report import Report
from seq2att.errors import UserError
from seq2att.files import one_word, open_atomic, read_lines, write_file
from seq2att.reader import Conll, ConllU, Csv, DataFiles, FileReader, Folder, Jsonl, Lines, Parallel, Reader, Tsv
from seq2att.reader.sentences import Sentences

LEFT_OUT = "left_out.tsv"
COLUMN = re.compile(r"[^ \t\r\n]+")
LABELS = "look-alike-labels"
PACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
WRITABLE = (Parallel, Tsv, Csv, Jsonl, Lines, Folder, Conll, ConllU)

Change = Callable[[str], str]


class Plan(NamedTuple):
    """What happens to the lines of files."""

    starts: npt.NDArray[np.int64]  # lines where a row begins, sorted
    dropped: dict[int, str]  # line -> defect
    repaired: dict[int, set[str]]  # line -> defects

    def named(self) -> dict[int, str]:
        """The repaired lines, each with its defects as text."""
        return {line: ", ".join(sorted(defects)) for line, defects in self.repaired.items()}


def write_clean(report: Report, folder: Path) -> Iterator[str]:
    """Write cleaned copies of all files into a folder, which must be new or empty; yields what was done, in lines.

    Raises:
        UserError: the folder holds files, the rows come from no text file, or a file is in another encoding.
    """
    reader, root = report.intake.reader, report.intake.root
    if folder.exists() and any(folder.iterdir()):
        raise UserError("E-file", f"{folder}", "the folder is not empty", "name a new one")
    if not isinstance(reader, WRITABLE) or not isinstance(reader, FileReader):
        problem = "its rows are in no text file that could be written again"
        raise UserError("E-conflict", f"reader={type(reader).__name__.lower()}", problem, "leave --write out")
    report.intake.check_encodings()
    serious = [one for one in report.findings if one.severity != "note" and one.defect.cleaning]
    labels = common_spellings(report, serious)
    lines = ["place\tdone\tdefect"]
    for split in report.rows:
        for data in reader.data_files(split, root):
            plan = plan_of(report, serious, split, data)
            for file in data.paths:
                name = relative(str(file), root)
                target = folder / (Path(name).name if Path(name).is_absolute() or ".." in Path(name).parts else name)
                with open_atomic(target) as stream, packed(stream, file.suffix) as output:
                    for text in cleaned(reader, file, plan, labels):
                        output.write(text.encode("utf-8", "surrogatepass"))
                yield f"{target}: left out {len(plan.dropped):,} rows, repaired {len(plan.repaired):,}"
            lines += [f"{data.name}:{line}\tleft out\t{defect}" for line, defect in sorted(plan.dropped.items())]
            lines += [f"{data.name}:{line}\trepaired\t{names}" for line, names in sorted(plan.named().items())]
    write_file(folder / LEFT_OUT, "\n".join(lines) + "\n")
    yield f"{folder / LEFT_OUT} names all of them; data.root={folder} trains on the rest"


def packed(stream: BinaryIO, suffix: str) -> AbstractContextManager[Any]:
    """The stream of a compressed file, by its suffix; any other as it is."""
    return PACKERS[suffix](stream, "wb") if suffix in PACKERS else nullcontext(stream)


def plan_of(report: Report, findings: Iterable[Finding], split: str, data: DataFiles) -> Plan:
    """What happens to the lines of files of a split that are read together."""
    places = report.context.findings.places[split]
    names = {data.name, *(relative(str(path), report.intake.root) for path in data.paths)}
    ours = {index for name, index in places.files.items() if name in names}
    is_ours = np.isin(np.asarray(places.file), list(ours))
    plan = Plan(np.sort(np.asarray(places.line)[is_ours]), {}, {})
    for finding in findings:
        numbers = finding.numbers if finding.split == split else ()
        if finding.defect.name.endswith("leaked-row"):
            numbers = finding.in_training if split == "train" else ()
        for number in numbers:
            if is_ours[number] and finding.defect.cleaning == "drop":
                plan.dropped.setdefault(places.line[number], finding.defect.name)
            elif is_ours[number]:
                plan.repaired.setdefault(places.line[number], set()).add(finding.defect.name)
    for line in plan.dropped:
        plan.repaired.pop(line, None)
    return plan


def common_spellings(report: Report, findings: Iterable[Finding]) -> dict[str, str]:
    """The commonest label or tag of each spelling, where some look alike."""
    return report.context.spellings if any(one.defect.name == LABELS for one in findings) else {}


def cleaned(reader: Reader, file: Path, plan: Plan, labels: dict[str, str]) -> Iterator[str]:
    """The text of a file, a row at a time, without those that are left out."""
    for number, text in records(reader, file, plan.starts):
        lines = range(number, number + text.count("\n") + 1)
        if isinstance(reader, Sentences) and any(line in plan.dropped for line in lines):
            continue
        if number in plan.dropped:
            continue
        defects = plan.repaired.get(number, set())
        yield change(reader, text, defects, labels if LABELS in defects else {}) if defects else text


def records(reader: Reader, file: Path, starts: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    """The rows of a file as text with their line ends, each with its first line: a sentence, a record, or a line."""
    lines: list[str] = []
    first = 1
    coming = iter(starts.tolist() if isinstance(reader, Csv) else ())
    start = next(coming, 0)
    for number, text in read_lines(file, ends=True, fault=lambda *_: None):
        while start and start < number:
            start = next(coming, 0)
        is_start = number == start if isinstance(reader, Csv) else not isinstance(reader, Sentences)
        if lines and is_start:
            yield first, "".join(lines)
            lines = []
        first = first if lines else number
        lines.append(text)
        if isinstance(reader, Sentences) and not text.strip():
            yield first, "".join(lines)
            lines = []
    if lines:
        yield first, "".join(lines)


def change(reader: Reader, text: str, defects: set[str], labels: dict[str, str]) -> str:
    """A row with its values repaired, in the format of the reader."""

    def value(cell: str) -> str:
        cell = repair(cell, defects)
        return labels.get(spelling(cell), cell) if labels else cell

    body = text.rstrip("\r\n")
    end = text[len(body) :]
    if isinstance(reader, Tsv):
        return "\t".join(one_line(value(cell), "\t") for cell in body.split("\t")) + end
    if isinstance(reader, Csv):
        return change_csv(reader, body, value) + end
    if isinstance(reader, Jsonl):
        return json.dumps(change_json(json.loads(text), value), ensure_ascii=False) + end
    if isinstance(reader, Sentences):
        return COLUMN.sub(lambda match: one_word(value(match[0])), body) + end
    return one_line(value(body)) + end


def one_line(text: str, *others: str) -> str:
    """A text without line ends and other separators."""
    for sign in ("\n", "\r", *others):
        text = text.replace(sign, " ")
    return text


def change_csv(reader: Csv, text: str, value: Change) -> str:
    """A record of a CSV file with its values changed."""
    output = io.StringIO()
    writer = csv.writer(output, delimiter=reader.separator, lineterminator="")
    for record in csv.reader(io.StringIO(text, newline=""), delimiter=reader.separator):
        writer.writerow([value(cell) for cell in record])
    return output.getvalue()


def change_json(record: Any, value: Change) -> Any:
    """A JSON value with all texts changed."""
    if isinstance(record, str):
        return value(record)
    if isinstance(record, list):
        return [change_json(item, value) for item in record]
    if isinstance(record, dict):
        return {key: change_json(item, value) for key, item in record.items()}
    return record
