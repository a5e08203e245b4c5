"""The report of an audit: for people, for programs, and in a few lines for a training."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from seq2att.audit.context import Context
from seq2att.audit.findings import Finding
from seq2att.audit.intake import Intake
from seq2att.audit.table import SEVERITIES

COLORS = {"error": "\033[1;31m", "warning": "\033[1;33m", "note": "\033[36m"}
RESET = "\033[0m"


class Report(NamedTuple):
    """All findings of an audit, the serious ones first."""

    findings: Sequence[Finding]
    rows: Mapping[str, int]
    intake: Intake

    @property
    def context(self) -> Context:
        """The sides and settings of the data."""
        return self.intake.context

    @property
    def is_clean(self) -> bool:
        """Whether there is no error and no warning."""
        return all(finding.severity == "note" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"rows": dict(self.rows), "findings": [finding.to_json() for finding in self.findings]}

    def lines(self, width: int = 80, color: bool = False) -> Iterator[str]:
        """The report as lines of text, grouped by severity."""
        yield "; ".join(f"{split}: {rows:,} row{'s' * (rows != 1)}" for split, rows in self.rows.items())
        for severity in SEVERITIES:
            findings = [finding for finding in self.findings if finding.severity == severity]
            if findings:
                title = f"{len(findings)} {severity}{'s' * (len(findings) != 1)}"
                yield ""
                yield f"{COLORS[severity]}{title}{RESET}" if color else title
            for finding in findings:
                yield from entry(finding, width)
        if not self.findings:
            yield "nothing found"


def short_lines(findings: Iterable[Finding]) -> list[str]:
    """What a training says: a line for each error and warning."""
    return [
        f"{one.severity}: {place_of(one)}: {one.defect.name}: {one.defect.meaning}; {one.remedy}"
        for one in findings
        if one.severity != "note"
    ]


def place_of(finding: Finding) -> str:
    """The first place of a finding, and how many more there are."""
    more = f" and {finding.count - 1:,} more" if finding.count > 1 else ""
    return f"{finding.examples[0].place}{more}"


def entry(finding: Finding, width: int) -> Iterator[str]:
    """A finding as lines."""
    where = " ".join(filter(None, (finding.split, finding.side)))
    rows = f"{finding.count:,} row{'s' * (finding.count != 1)}" if finding.count > 1 else ""
    yield f"  {finding.defect.name} ({', '.join(filter(None, (where, rows)))})"
    yield from wrapped(finding.defect.meaning, width)
    for place, detail in finding.examples:
        yield from wrapped(f"{place}  {detail}".rstrip(), width, "      ")
    yield from wrapped(f"-> {finding.remedy}", width)


def wrapped(text: str, width: int, indent: str = "    ") -> list[str]:
    """A text in lines that fit."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
