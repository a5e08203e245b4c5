"""The fenced blocks of our documentation, which are tests."""

import re
import shlex
from typing import NamedTuple


class Block(NamedTuple):
    line: int
    language: str
    file: str  # what `title="..."` names: the block is the content of this file
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a bash block, each as its words."""
        return [shlex.split(line) for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a text."""
    pattern = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
    return [
        Block(markdown[: match.start()].count("\n") + 1, match[1], match[2] or "", match[3])
        for match in pattern.finditer(markdown)
    ]
