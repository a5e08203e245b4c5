"""`seq2att plugin new`: a package for a component of one's own, made from the page of its kind in docs/plugins."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from seq2att.cli.model import Commands, add_parser
from seq2att.errors import UserError

EXAMPLES = """examples:
  seq2att plugin new gaussian --kind attention

The package holds the example of the kind's page in docs/plugins, under the new name. Change it to what you need; it is
installed by pip install --editable seq2att-gaussian, and tested by python -m pytest seq2att-gaussian."""
PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.1.0"
description = "A component for seq2att: {kind}={name}"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["seq2att", "torch"]

[project.entry-points."seq2att.plugins"]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""
TEST = """\
from pathlib import Path

import pytest

from seq2att.registry import load_plugin
from seq2att.testing import check

HERE = Path(__file__).parent


def test_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugin(str(HERE.parent))  # also where the package is not installed
    monkeypatch.chdir(HERE)  # where example data are
    check({arguments})
"""
README = """\
# {package}

A plugin for seq2att: `{kind}={name}`, in `{module}.py`.

    pip install --editable .
    seq2att list {kind}.{name}
    {train}

The test holds it against the laws of its kind:

    python -m pytest
"""


class Template(NamedTuple):
    """What a page of docs/plugins shows of one component."""

    name: str  # of its file and of the registered component
    module: str
    data: Mapping[str, str]  # files that the example reads
    options: Mapping[str, str]  # what the page's check command sets
    examples: list[str]
    train: str  # the page's train command, without `plugins`


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    from seq2att.registry import COMPONENTS

    parser = add_parser(commands, "plugin", "make a package for a component of your own", EXAMPLES)
    parser.add_argument("action", choices=["new"], help="make a new package")
    parser.add_argument("name", metavar="NAME", help="name of the component, as settings will name it")
    parser.add_argument("--kind", required=True, choices=COMPONENTS, help="kind of the component")
    parser.add_argument("--folder", metavar="DIR", help="where to write it (default: seq2att-NAME)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the package, and print what to do next."""
    from seq2att import registry

    name, kind = arguments.name, arguments.kind
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError("E-argument", name, "is not a name of a component", "use lower-case letters, digits and _")
    registry.load()
    if name in registry.entries(kind):
        raise UserError("E-register", f"{kind}={name}", "exists already", "choose another name")
    folder = Path(arguments.folder or f"seq2att-{name.replace('_', '-')}")
    if folder.exists():
        raise UserError("E-file", str(folder), "exists already", "choose another --folder")
    for file, text in package_files(name, kind, read_template(kind)).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, "utf-8")
    print(f"{folder}: a package for {kind}={name}\n")
    print(f"  pip install --editable {folder}\n  python -m pytest {folder}")


def read_template(kind: str) -> Template:
    """The first component of the page of a kind, which an installed seq2att holds as package data."""
    package = Path(__file__).resolve().parent.parent
    pages = [folder / "docs" / "plugins" / f"{kind}.md" for folder in (package, package.parent)]
    text = next(page for page in pages if page.is_file()).read_text("utf-8")
    files = dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', text, re.M | re.S))
    name = next(Path(file).stem for file in files if file.endswith(".py"))
    bash = "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S)).replace("\\\n", " ")
    commands = [shlex.split(line) for line in bash.splitlines()]
    check = next(words for words in commands if words[1:4] == ["check", kind, name])
    train = next(words for words in commands if words[1] == "train" and f"plugins=[{name}.py]" in words)
    return Template(
        name,
        files[f"{name}.py"],
        {file: content for file, content in files.items() if not file.endswith(".py")},
        dict(word.split("=", 1) for word in check[4:] if "=" in word),
        [value for flag, value in itertools.pairwise(check) if flag == "--example"],
        shlex.join(word for word in train if not word.startswith(("plugins=", "run=", "trainer."))),
    )


def package_files(name: str, kind: str, template: Template) -> dict[str, str]:
    """The files of the package, by their paths in it."""
    import yaml

    options = {key: yaml.safe_load(value) for key, value in template.options.items()}
    arguments = [f'"{kind}", "{name}"', *[repr(options)] * bool(options)]
    arguments += [f"examples={template.examples}"] * bool(template.examples)
    names = {"name": name, "kind": kind, "module": f"seq2att_{name}", "package": f"seq2att-{name.replace('_', '-')}"}
    train = re.sub(rf"\b{template.name}\b", name, template.train)
    return {
        "pyproject.toml": PYPROJECT.format(**names),
        f"{names['module']}.py": rename(template.module, kind, template.name, name),
        f"tests/test_{name}.py": TEST.format(arguments=", ".join(arguments)),
        "README.md": README.format(**names, train=train),
        **{f"tests/{file}": content for file, content in template.data.items()},
    }


def rename(module: str, kind: str, old: str, new: str) -> str:
    """The module with its component under another name, and its class or function after that."""
    registered = f'@register("{kind}", "{old}")'
    target = re.search(rf"^{re.escape(registered)}\n(class|def) (\w+)", module, re.M)
    assert target is not None, f"docs/plugins/{kind}.md registers no {old}"
    python_name = new if target[1] == "def" else "".join(part.capitalize() for part in new.split("_"))
    module = module.replace(registered, f'@register("{kind}", "{new}")').replace(f"{kind}={old}", f"{kind}={new}")
    return re.sub(rf"\b{target[2]}\b(?=[(:.])", python_name, module)
