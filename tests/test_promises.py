"""What is promised is held: each promise names tests that exist."""

import ast
import re
from pathlib import Path

PAGE = Path("docs") / "promises.md"


def test_each_promise_names_tests_that_exist(root: Path) -> None:
    text = (root / PAGE).read_text("utf-8")
    promises = text.partition("## Figures")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row.rsplit("|", 2)[1]] == []
    missing = []
    for file, name in re.findall(r"`(tests/\w+\.py)::(\w+)`", text):
        names = {node.name for node in ast.parse((root / file).read_text("utf-8")).body if hasattr(node, "name")}
        missing += [] if name in names else [f"{file}::{name}"]
    assert missing == []
    assert text.count("`tests/") == len(re.findall(r"`tests/\w+\.py::\w+`", text))


def test_make_targets_of_promises_exist(root: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"`make (\w+)`", (root / PAGE).read_text("utf-8"))) <= targets
