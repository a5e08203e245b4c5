"""The lessons of docs/lessons: their blocks, and how they run.

`python -m tests.lessons 04` runs lesson 4 as it stands and writes what it prints and draws into the page and its Korean
twin. `tests/test_lessons.py` runs every lesson with the small settings of its page.
"""

import ast
import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import seq2att
from seq2att.cli import main
from tests.markdown import Block, blocks

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "docs" / "lessons"
PAGES = sorted(LESSONS.glob("[0-9][0-9]_*.md"))
SMALL = re.compile(r"^<!-- small: (.*) -->$", re.M)
BODY = r"((?:(?!```).*\n)*)"
OUTPUT = re.compile(rf"^(```(python|bash)\n{BODY}```\n\n```text\n){BODY}```$", re.M)
IMAGE = re.compile(r'!\[[^\]]*\]\(([^)\s]+) "([^"]+)"\)')  # the picture in docs/lessons/pictures, the reader's own file


class Small(NamedTuple):
    """What a test changes so that a lesson takes seconds."""

    constants: dict[str, str]  # STEPS=20: the line `STEPS = ...` of the page
    settings: list[str]  # of every training

    def shorten(self, code: str) -> str:
        """The code with the small constants."""
        for name, value in self.constants.items():
            code = re.sub(rf"^{name} = [^#\n]*", f"{name} = {value}  ", code, flags=re.M)
        return code


def small(page: Path) -> Small | None:
    """The small settings of a page; None where it is fast enough as it is."""
    match = SMALL.search(page.read_text("utf-8"))
    if match is None:
        return None
    words = shlex.split(match[1])
    constants = dict(word.split("=", 1) for word in words if word.partition("=")[0].isupper())
    return Small(constants, [word for word in words if word.partition("=")[0] not in constants])


def twin(page: Path) -> Path:
    """The same lesson in Korean."""
    return page.parent / "ko" / page.name


def pictures(text: str) -> dict[str, str]:
    """The file name of every picture of a page, and the file of the reader's folder that it shows."""
    return {Path(target).name: own for target, own in IMAGE.findall(text)}


def code(block: Block) -> str:
    """What a block does: its text without comments."""
    if block.language in ("python", "py"):
        return ast.unparse(ast.parse(block.text))
    lines = (re.sub(r"\s+# .*", "", line) for line in block.text.splitlines())
    return "\n".join(line for line in lines if not line.startswith("#"))


def outputs(text: str) -> dict[str, str]:
    """What each block prints, as the page shows it."""
    return {source: output for _, _, source, output in OUTPUT.findall(text)}


def run(text: str, name: str, small: Small | None = None) -> Iterator[tuple[Block, str]]:
    """Run the blocks of a page in the present folder, one after another; yield each with what it printed."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with quick_training(small), plugins_at_hand():
        for block in blocks(text):
            if block.file:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.text, "utf-8")
            elif block.language == "bash":
                yield block, printed(lambda block=block: run_commands(block.text, small))
            elif block.language == "python":
                source = small.shorten(block.text) if small else block.text
                compiled = compile("\n" * block.line + source, name, "exec")
                yield block, printed(lambda compiled=compiled: exec(compiled, namespace))


def run_commands(text: str, small: Small | None) -> None:
    """Run the lines of a bash block through the command line's main."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        words = shlex.split(line)
        if words[0] == "cat":
            print("".join(Path(file).read_text("utf-8") for file in words[1:]), end="")
            continue
        before = sys.stdin
        if words[0] == "echo":
            bar = words.index("|")
            sys.stdin = io.TextIOWrapper(io.BytesIO(f"{' '.join(words[1:bar])}\n".encode()))
            words = words[bar + 1 :]
        assert words[0] == "seq2att", (
            f"a line of a bash block is a command of seq2att, echo ... | seq2att, or cat: {line}"
        )
        extra = small.settings if small and words[1] == "train" else []
        try:
            status = main([*words[1:], *extra])
        finally:
            sys.stdin = before
        assert status == 0, f"exit code {status}: {line} {' '.join(extra)}"


@contextlib.contextmanager
def quick_training(small: Small | None) -> Iterator[None]:
    """Give every `seq2att.train` of a page the small settings too, and draw without a screen."""
    import matplotlib.pyplot as plt
    import torch

    train, dtype, backend = seq2att.train, torch.get_default_dtype(), plt.get_backend()
    plt.switch_backend("agg")

    def short(recipe: str, overrides: Any = (), callbacks: Any = (), **options: Any) -> Path:
        return train(recipe, [*overrides, *(small.settings if small else ())], callbacks, **options)

    seq2att.train = short  # type: ignore[assignment]
    try:
        yield
    finally:
        seq2att.train = train
        torch.set_default_dtype(dtype)
        plt.close("all")
        plt.switch_backend(backend)


@contextlib.contextmanager
def plugins_at_hand() -> Iterator[None]:
    """Let a page import the plugins of this repository as if they were installed."""
    folders = [str(file.parent) for file in sorted((ROOT / "plugins").glob("*/pyproject.toml"))]
    before = set(sys.modules)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = [path for path in sys.path if path not in folders]
        for name in set(sys.modules) - before:
            if name.startswith("seq2att_"):
                del sys.modules[name]


def printed(action: Callable[[], Any]) -> str:
    """What an action prints on standard output."""
    buffer = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(buffer, "utf-8", write_through=True)) as stream:
        action()
        stream.flush()
        return buffer.getvalue().decode("utf-8")


def fill(text: str, printed_by: dict[str, str]) -> str:
    """The page with what its blocks print, where it shows that."""

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}{excerpt(printed_by[code(Block(0, match[2], '', match[3]))], match[4])}```"

    return OUTPUT.sub(replace, text)


def excerpt(output: str, shown: str) -> str:
    """What the page shows of an output: all, or where the shown text begins with a line `...` its last lines."""
    lines = output.splitlines()
    if shown.startswith("...\n"):
        lines = ["...", *lines[len(lines) - shown.count("\n") + 1 :]]
    return "".join(f"{line}\n" for line in lines)


def write(page: Path) -> None:
    """Run a lesson with its full settings, and write what it prints and draws into both pages."""
    before, start = Path.cwd(), time.monotonic()
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            printed_by = {code(block): output for block, output in run(text, page.name)}
            for name, own in pictures(text).items():
                shutil.copy(own, LESSONS / "pictures" / name)
        finally:
            os.chdir(before)
    for path in (page, twin(page)):
        if path.exists():
            path.write_text(fill(path.read_text("utf-8"), printed_by), "utf-8")
    print(f"{page.name}: {time.monotonic() - start:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    for number in sys.argv[1:]:
        (page,) = LESSONS.glob(f"{number}_*.md")
        write(page)
