"""Write the generated pages of the documentation: `make docs`.

`errors.md` lists the messages of every error code, read from the source; `reference.md` lists the components and their
options, read from the registry; `data.md` lists the defects that an audit of data finds. A test holds them current.
"""

from __future__ import annotations

import ast
import re
import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2att import registry
from seq2att.audit.table import DEFECTS
from seq2att.config.options import DataOptions, Settings, TrainerOptions, options_of
from seq2att.errors import CODES
from seq2att.registry import MISSING, Option, format_type

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "seq2att"
ERRORS = """\
# Errors

<!-- Written by docs/generate.py; run `make docs` to write it anew. -->

An error that you can correct is one line: `seq2att: error [code]: subject: problem; remedy`. The command ends with the
exit code 2. In Python it is a `seq2att.UserError` with the attributes `code`, `subject`, `problem` and `remedy`. Codes
are stable; the wording may improve. Values are shown in braces below.
"""
REFERENCE = """\
# Reference

<!-- Written by docs/generate.py; run `make docs` to write it anew. -->

The components of each kind with their options, and the settings of `data` and `trainer`. `seq2att list KIND.NAME`
prints the same.
"""
DATA = """\
# Audit of data

<!-- Written by docs/generate.py; run `make docs` to write it anew. -->

`seq2att data RECIPE` reads the data of a recipe once and names what is wrong with them, with file and line, how often
it occurs, and a remedy. `--json` prints it for programs; with `--strict` an error or a warning gives exit code 1;
`--write DIR` writes cleaned copies of the files, and `DIR/left_out.tsv` with every row that was left out or changed.

    seq2att data reverse

An error makes training fail, or learn what is wrong; look at a warning; a note is for your information. Where few rows
have a defect, up to the share in the column `note up to`, it is a note. The last column says what `--write` does with
such a row: leave it out (`drop`), correct its text (`repair`), or keep it. A training says errors and warnings about a
sample of its rows.

| defect | severity | note up to | what it is | remedy | `--write` |
|---|---|---|---|---|---|
"""


TRANSPARENT = frozenset("str int repr len list sorted join next iter min max".split())  # shown as what they take


class Raise(NamedTuple):
    """One construction of an error in the source."""

    place: str  # file:line
    code: str | None  # None: not a literal
    is_moved: bool  # an existing error, with its own code, at another place
    message: str  # with names in braces


def error_classes(trees: list[ast.Module]) -> set[str]:
    """The names of `UserError` and of the classes that derive from it."""
    names = {"UserError"}
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while new := {c.name for c in classes if any(ast.unparse(base) in names for base in c.bases)} - names:
        names |= new
    return names


def raises() -> Iterator[Raise]:
    """Every construction of a user error in the package."""
    files = sorted(PACKAGE.rglob("*.py"))
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    names = error_classes(trees)
    for file, tree in zip(files, trees, strict=True):
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names and node.args:
                around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
                literal = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
                texts = [template(part, around[-1:]) for part in node.args[1:]]
                texts += [template(word.value, around[-1:]) for word in node.keywords]
                message = ": ".join(filter(None, texts[:2])) + "".join(f"; {text}" for text in texts[2:3] if text)
                is_moved = isinstance(node.args[0], ast.Starred) or ".code" in ast.unparse(node.args[0])
                yield Raise(f"{file.relative_to(PACKAGE)}:{node.lineno}", literal, is_moved, " ".join(message.split()))


def template(node: ast.expr, functions: list[ast.FunctionDef]) -> str:
    """An expression of text as it reads, with values in braces; local names are replaced by what they stand for."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, functions) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return template(node.value, []) if isinstance(node.value, ast.IfExp) else f"{{{short(node.value)}}}"
    if isinstance(node, ast.BoolOp):  # `null and f"or {null}"`: the text where there is one
        return template(node.values[-1], functions)
    if isinstance(node, ast.IfExp):
        return " | ".join(filter(None, (template(node.body, functions), template(node.orelse, functions))))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, functions) + template(node.right, functions)
    if isinstance(node, ast.Name):
        values = [
            statement.value
            for function in functions
            for statement in ast.walk(function)
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == node.id
        ]
        if len(values) == 1 and isinstance(values[0], ast.Constant | ast.JoinedStr | ast.IfExp):
            return template(values[0], functions)
    return f"{{{short(node)}}}"


def short(node: ast.expr) -> str:
    """The name of a value: that of a variable or an attribute, else that of the function which makes it."""
    if isinstance(node, ast.Call):
        name = short(node.func)
        return short(node.args[0]) if name in TRANSPARENT and node.args else name
    if isinstance(node, ast.Subscript):
        return short(node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else "..."


def errors_page() -> str:
    """The page of errors."""
    messages = defaultdict(set)
    for item in raises():
        if item.code is not None:
            messages[item.code].add(item.message)
    sections = (
        "\n".join(
            [f"\n## {code}\n", meaning, "", *(f"- `{text.replace('`', chr(39))}`" for text in sorted(messages[code]))]
        )
        for code, meaning in CODES.items()
    )
    return ERRORS + "\n".join(sections) + "\n"


def reference_page() -> str:
    """The page of components, options and settings."""
    registry.load()
    lines = [REFERENCE]
    for kind in registry.kinds():
        lines += [f"## {kind}\n"]
        for entry in sorted(registry.entries(kind).values(), key=lambda entry: entry.name):
            if entry.target.__module__.partition(".")[0] == "seq2att":  # an installed plugin has pages of its own
                lines += [f"### {kind}={entry.name}\n", f"{entry.doc}\n", *table(entry.options)]
    for name, settings in (("settings", Settings), ("data", DataOptions), ("trainer", TrainerOptions)):
        lines += [f"## {name}\n", *table(options_of(settings))]
    return "\n".join(lines).rstrip() + "\n"


def data_page() -> str:
    """The page of the defects of data."""
    rows = [
        f"| `{one.name}` | {one.severity} | {f'{one.tolerance:.1%}' if one.tolerance else ''} | {cell(one.meaning)} | "
        f"{cell(one.remedy.replace('{{', '{').replace('}}', '}'))} | {one.cleaning} |"
        for one in DEFECTS.values()
    ]
    return DATA + "\n".join(rows) + "\n"


def table(options: typing.Mapping[str, Option]) -> list[str]:
    """The options as a table; empty without any."""
    rows = [
        f"| `{name}` | {type_of(option)} | {default_of(option)} | {cell(option.meaning)} |"
        for name, option in options.items()
    ]
    return ["| option | type | default | meaning |\n|---|---|---|---|", *rows, ""] if rows else []


def type_of(option: Option) -> str:
    """The type of an option as code, with its choices where it has some."""
    text = re.sub(
        r"Literal\[([^]]*)\]", lambda match: match[1].replace("', '", " | ").strip("'"), format_type(option.annotation)
    )
    return f"`{cell(text)}`"


def default_of(option: Option) -> str:
    """The default of an option as code."""
    return "required" if option.default == MISSING else f"`{cell(show(option.default))}`"


def show(value: Any) -> str:
    """A value as settings write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    return str(value) if value != "" else '""'


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|")


def pages() -> dict[Path, str]:
    """The generated pages with their content."""
    return {DOCS / "errors.md": errors_page(), DOCS / "reference.md": reference_page(), DOCS / "data.md": data_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        print(path.relative_to(DOCS.parent))
