"""What a run prints: Markdown for benchmarks/README.md, and the same as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.machine import Peak
from benchmarks.timing import Result, Row

QUIET = 0.95  # of a core, from which a measurement counts as undisturbed


class Section(NamedTuple):
    """A part of the report: one row, or one table of growth."""

    name: str
    title: str
    note: str  # how it was proved that all do the same work, or what the columns mean
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    values: Any  # the same for JSON

    def markdown(self) -> str:
        """A heading, a sentence and a table."""
        return (
            "\n".join([f"### `{self.name}`: {self.title}", "", self.note, "", *table(self.columns, self.lines)]) + "\n"
        )


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table, padded so that it reads well as text too."""
    cells = [list(columns), *(list(line) for line in lines)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    rule = [f"{'-' * (width - 1)}{'-' if place == 0 else ':'}" for place, width in enumerate(widths)]
    padded = [
        [
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in [cells[0], rule, *cells[1:]]
    ]
    return [f"| {' | '.join(line)} |" for line in padded]


def number(value: float) -> str:
    """Three digits, thousands apart; nothing where it was not measured."""
    if value == 0:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def section(row: Row, results: Sequence[Result], check: str, peak: Peak) -> Section:
    """A row as a part of the report."""
    reads = any(result.bandwidth for result in results)
    last = "weights read, GB/s" if reads else "of peak"
    columns = ["", row.unit, "best", "ms", "ratio", "least to greatest", "rounds", last, "peak MiB"]
    lines = []
    for result in results:
        if result.why:
            continue
        used = number(result.bandwidth / 1e9) if reads else f"{result.flops / peak.best:.0%}" if result.flops else ""
        spread = f"{result.least:.2f} to {result.greatest:.2f}"
        figures = [f"{result.rate:,.0f}", f"{result.best:,.0f}", number(result.milliseconds), f"{result.ratio:.2f}"]
        lines.append([result.name, *figures, spread, str(result.rounds), used, number(result.memory)])
    missing = [f"Not measured: {result.name} ({result.why})." for result in results if result.why]
    share = min((result.share for result in results if not result.why), default=1.0)
    if share < QUIET:
        missing.append(f"Disturbed: other work on the machine left a contender {share:.0%} of its core.")
    note = " ".join([f"{check[:1].upper()}{check[1:]}.", *missing])
    return Section(row.name, row.title, note, columns, lines, [result._asdict() for result in results])


def header(machine: dict[str, Any], command: str, seed: int, data: str, peak: Peak, copy: float) -> str:
    """What the figures were measured on, and by which command."""
    rows, inner, columns = peak.shape
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    return "\n".join(
        [
            f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpu}; "
            f"{machine['system']}, Python {machine['python']}, PyTorch {machine['torch']}; "
            f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}.",
            f"Command: `{command}`, seed {seed}; {data}.",
            f"Peak of this run: {peak.best / 1e9:.0f} GFLOP/s ({rows} x {inner} x {columns}; torch.mm "
            f"{peak.mm / 1e9:.0f}, oneDNN {peak.onednn / 1e9:.0f}, "
            f"ours {peak.ours / 1e9:.0f}); copy: {copy / 1e9:.1f} GB/s read and written.",
            "",
        ]
    )


def summary(sections: Sequence[tuple[Row, Sequence[Result]]], peak: Peak) -> str:
    """The best of the package beside the baseline, a line a row; quantized weights on a line of their own."""
    lines = []
    for row, results in sections:
        measured = [result for result in results if not result.why]
        ours = [result for result in measured if result.name.startswith("seq2att")]
        rounded = [result for result in ours if result.name.endswith("int8")]  # other work than float32
        for group in ([result for result in ours if result not in rounded], rounded):
            if group:
                best, first = max(group, key=lambda result: result.ratio), measured[0]
                used = f"{best.flops / peak.best:.0%}" if best.flops else ""
                rates = [f"{first.rate:,.0f}", f"{best.rate:,.0f}"]
                lines.append([f"`{row.name}`", *rates, f"{best.ratio:.2f}", best.name.partition(", ")[2], used])
    columns = ["row", "baseline, tokens/s", "seq2att, tokens/s", "ratio", "its tier", "of peak"]
    return "\n".join([*table(columns, lines), ""]) if lines else ""
