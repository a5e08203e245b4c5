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
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.audit.findings import Finding
from seq2att.audit.intake import relative
from seq2att.audit.labels import spelling
from seq2att.audit.repairing import repair
from seq2att.audit.report import Report
from seq2att.errors import UserError
from seq2att.files import one_word, read_lines, write_file
from seq2att.reader import Conll, ConllU, Csv, FileReader, Folder, Jsonl, Lines, Parallel, Reader, Tsv
from seq2att.reader.sentences import Sentences

LEFT_OUT = "left_out.tsv"
COLUMN = re.compile(r"[^ \t\r\n]+")
LABELS = "look-alike-labels"
PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
WRITABLE = (Parallel, Tsv, Csv, Jsonl, Lines, Folder, Conll, ConllU)

Change = Callable[[str], str]


class Plan(NamedTuple):
    """What happens to the lines of one file."""

    starts: frozenset[int]  # lines where a row begins
    dropped: dict[int, str]  # line -> defect
    repaired: dict[int, set[str]]  # line -> defects


def write_clean(report: Report, folder: Path) -> Iterator[str]:
    """Write cleaned copies of all files into a folder, which must be new or empty; yields what was done, in lines.

    Raises:
        UserError: the folder holds files, or the rows come from no text file.
    """
    reader, root = report.intake.reader, report.intake.root
    if folder.exists() and any(folder.iterdir()):
        raise UserError("E-file", f"{folder}", "the folder is not empty", "name a new one")
    if not isinstance(reader, WRITABLE) or not isinstance(reader, FileReader):
        problem = "its rows are in no text file that could be written again"
        raise UserError("E-conflict", f"reader={type(reader).__name__.lower()}", problem, "leave --write out")
    serious = [one for one in report.findings if one.severity != "note" and one.defect.cleaning]
    labels = common_spellings(report, serious)
    lines = ["place\tdone\tdefect"]
    for split in report.rows:
        for file in reader.files(split, root):
            name = relative(str(file), root)
            plan = plan_of(report, serious, split, file, isinstance(reader, Parallel))
            target = folder / (Path(name).name if Path(name).is_absolute() or ".." in Path(name).parts else name)
            text = "".join(cleaned(reader, file, plan, labels))
            write_file(target, PACKERS.get(file.suffix, bytes)(text.encode("utf-8", "surrogatepass")))
            lines += [f"{name}:{line}\tleft out\t{defect}" for line, defect in sorted(plan.dropped.items())]
            lines += [
                f"{name}:{line}\trepaired\t{', '.join(sorted(defects))}"
                for line, defects in sorted(plan.repaired.items())
                if line not in plan.dropped
            ]
            yield f"{target}: left out {len(plan.dropped):,} rows, repaired {len(plan.repaired):,}"
    write_file(folder / LEFT_OUT, "\n".join(lines) + "\n")
    yield f"{folder / LEFT_OUT} names all of them; data.root={folder} trains on the rest"


def plan_of(report: Report, findings: Iterable[Finding], split: str, file: Path, is_parallel: bool) -> Plan:
    """What happens to the lines of a file of a split."""
    places = report.context.findings.places[split]
    ours = {index for name, index in places.files.items() if is_parallel or Path(name).name == file.name}
    ours |= {index for name, index in places.files.items() if f"{name}{file.suffix}".endswith(file.name)}
    mine = [number for number in range(len(places)) if places.file[number] in ours]
    dropped: dict[int, str] = {}
    repaired: dict[int, set[str]] = {}
    for finding in findings:
        numbers = finding.numbers if finding.split == split else ()
        if finding.defect.name.endswith("leaked-row"):
            numbers = finding.in_training if split == "train" else ()
        for number in numbers:
            if places.file[number] in ours and finding.defect.cleaning == "drop":
                dropped.setdefault(places.line[number], finding.defect.name)
            elif places.file[number] in ours:
                repaired.setdefault(places.line[number], set()).add(finding.defect.name)
    return Plan(frozenset(places.line[number] for number in mine), dropped, repaired)


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


def records(reader: Reader, file: Path, starts: frozenset[int]) -> Iterator[tuple[int, str]]:
    """The rows of a file as text with their line ends, each with its first line."""
    lines: list[str] = []
    first = 1
    for number, text in read_lines(file, ends=True, fault=lambda *_: None):
        is_blank = isinstance(reader, Sentences) and not text.strip()
        if lines and number in starts and not isinstance(reader, Sentences):
            yield first, "".join(lines)
            lines = []
        first = first if lines else number
        lines.append(text)
        if is_blank:
            yield first, "".join(lines)
            lines = []
    if lines:
        yield first, "".join(lines)


def change(reader: Reader, text: str, defects: set[str], labels: dict[str, str]) -> str:
    """A row with its values repaired, in the format of the reader."""

    def value(cell: str) -> str:
        cell = repair(cell, defects)
        return labels.get(spelling(cell), cell) if labels else cell

    body, end = (text[:-1], "\n") if text.endswith("\n") else (text, "")
    if isinstance(reader, Tsv):
        return "\t".join(one_line(value(cell), "\t") for cell in body.split("\t")) + end
    if isinstance(reader, Csv):
        return change_csv(reader, text, value)
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
    writer = csv.writer(output, delimiter=reader.separator, lineterminator="\n")
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
