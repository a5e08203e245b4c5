"""Write the lessons as Jupyter notebooks into docs/notebooks: `make notebooks`. The pages are the only source."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
FILE = re.compile(r'^```\w+ title="([^"]+)"\n', re.M)
OUTPUT = re.compile(r"\A```text\n((?:(?!```).*\n)*)```\n*")


def notebook(text: str) -> Any:
    """The notebook of a page: blocks with a title write their file, and outputs stand below their cells."""
    import jupytext
    from nbformat import v4

    text = FILE.sub(r"```python\n%%writefile \1\n", text)
    text = text.replace("<details>\n<summary>", "**").replace("</summary>", "**").replace("</details>\n", "")
    made = jupytext.reads(text, fmt="md")
    for cell, after in zip(made.cells, made.cells[1:], strict=False):
        shown = OUTPUT.match(after.source) if cell.cell_type == "code" else None
        if shown:
            cell.outputs = [v4.new_output("stream", name="stdout", text=shown[1])]
            after.source = after.source[shown.end() :]
    made.cells = [cell for cell in made.cells if cell.source]
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def main() -> None:
    """Write the notebook of every page, and copy their index and their pictures."""
    import nbformat

    lessons, notebooks = DOCS / "lessons", DOCS / "notebooks"
    shutil.copytree(lessons / "pictures", notebooks / "pictures", dirs_exist_ok=True)
    for page in [lessons / "README.md", *sorted(lessons.rglob("[0-9]*.md"))]:
        target = notebooks / page.relative_to(lessons)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"\]\(((?:ko/|\.\./)?\d\d_\w+)\.md\)", r"](\1.ipynb)", page.read_text("utf-8"))
        if page.name == "README.md":
            target.write_text(text, "utf-8")
        else:
            nbformat.write(notebook(text), target.with_suffix(".ipynb"))


if __name__ == "__main__":
    if importlib.util.find_spec("jupytext") is None:
        sys.exit("jupytext is not installed; run `pip install jupytext`, or `make notebooks`, which has it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jupyter_core speaks of its folders
        main()
