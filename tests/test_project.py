"""The project as a whole: what it ships, which way the arrows point, and what no committed file may hold."""

import ast
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from tests.oldest import oldest_versions

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
COMPONENTS = (
    "encoder attention decoder output head search field tokenizer reader metric optimizer schedule callback logger"
).split()


class Built(NamedTuple):
    sdist: Path
    wheel: Path
    installed: Path  # what pip made of the wheel, nothing else in it


class Definition(NamedTuple):
    place: str
    lines: int


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The output of a command that must succeed; its own words where it does not."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


# --- what is shipped ---


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The source distribution, the wheel built from it, and that wheel installed into an empty folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    installed = folder / "site"
    install = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index", "--target"]
    run(sys.executable, "-m", *install, installed, wheel, cwd=folder)
    return Built(sdist, wheel, installed)


def test_wheel_carries_configuration_and_recipes(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert "seq2att/conf/config.yaml" in names
    recipes = {f"seq2att/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert "seq2att/recipes/reverse.yaml" in recipes
    assert recipes <= names
    groups = {f"seq2att/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert groups <= names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "seq2att").rglob("*.py")}
    assert modules | {"seq2att/py.typed"} <= names
    page = {path for path in (ROOT / "seq2att" / "drawing" / "explain").iterdir() if path.suffix not in ("", ".py")}
    assert {f"seq2att/drawing/explain/{path.name}" for path in page} <= names
    assert not [name for name in names if not name.startswith(("seq2att/", "seq2att-"))], (
        "the wheel litters site-packages"
    )


def test_wheel_has_version_command_and_extras(built: Built) -> None:
    import seq2att

    folder = f"seq2att-{seq2att.__version__}.dist-info"
    with zipfile.ZipFile(built.wheel) as wheel:
        assert "seq2att = seq2att.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
        metadata = wheel.read(f"{folder}/METADATA").decode()
    assert {"demo", "dev", "pictures", "recipes", "tensorboard"} == set(
        re.findall(r"^Provides-Extra: (\S+)", metadata, re.M)
    )
    assert re.search(r"^Requires-Dist: lightning-fabric>=2\.6\.6$", metadata, re.M), "2.6.2 and 2.6.3 were malicious"


def test_sdist_carries_what_a_packager_tests_with(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "requirements.lock",
        "requirements-build.lock",
        "conf/config.yaml",
        "recipes/reverse.yaml",
    } <= names
    assert "tests/test_project.py" in names


def compose_reverse(package: Path, cwd: Path) -> str:
    """The resolved settings that the package in this folder composes for `reverse`, seen from another folder."""
    where = run(sys.executable, "-c", "import seq2att; print(seq2att.__file__)", cwd=cwd, PYTHONPATH=str(package))
    assert Path(where.strip()).is_relative_to(package)
    return run(sys.executable, "-m", "seq2att", "train", "reverse", "--cfg", "job", cwd=cwd, PYTHONPATH=str(package))


def test_installed_wheel_and_checkout_compose_the_same(built: Built, tmp_path: Path) -> None:
    from_wheel = compose_reverse(built.installed, tmp_path)
    assert re.search(r"^\s*name: additive$", from_wheel, re.M), from_wheel
    assert compose_reverse(ROOT, tmp_path) == from_wheel


# --- what is said twice must agree ---


def test_one_version() -> None:
    import seq2att

    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.M)
    assert released[0] == seq2att.__version__
    assert "## [Unreleased]" in changelog


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.partition("==")[0].lower() for line in lines if "==" in line}
    everything = [
        *PROJECT["dependencies"],
        *(name for extra in PROJECT["optional-dependencies"].values() for name in extra),
    ]
    needed = {re.split(r"[<>=\[]", name)[0].lower() for name in everything} - {"seq2att"}
    assert "torch" in needed
    assert needed <= pinned, f"constraints.txt misses {sorted(needed - pinned)}"


def test_lock_files_hold_a_hash_of_everything_but_pytorch() -> None:
    """PyTorch is left to the constraints: which of its builds is right depends on the machine."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    for name in ("requirements.lock", "requirements-build.lock"):
        text = (ROOT / name).read_text("utf-8")
        locked = dict(re.findall(r"^([\w.-]+)==(\S+) (?:; [^\\]* )?\\\n    --hash=sha256:[0-9a-f]{64}", text, re.M))
        assert len(locked) == len(re.findall("==", text)) > 8
        normal = {re.sub(r"[-_.]+", "-", pin).lower(): version for pin, version in pins.items()}
        assert {key: normal.get(key) for key in locked} == locked, "run make lock"
        assert name != "requirements.lock" or normal.keys() - locked.keys() == {"torch"}


def test_every_dependency_has_an_oldest_version() -> None:
    assert list(oldest_versions()) == [re.split(r"[<>=]", name)[0] for name in PROJECT["dependencies"]]


def test_every_import_is_a_declared_dependency() -> None:
    """What is imported but comes with another package is gone when that package drops it."""
    imported = {
        name.partition(".")[0]
        for path in (ROOT / "seq2att").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")])
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    modules = {
        "hydra-core": "hydra",
        "lightning-fabric": "lightning_fabric",
        "Pillow": "PIL",
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
    }
    extras = [name for key, names in PROJECT["optional-dependencies"].items() if key != "dev" for name in names]
    needed, optional = (
        {modules.get(name, name) for name in (re.split(r"[<>=\[]", line)[0] for line in lines)}
        for lines in (PROJECT["dependencies"], extras)
    )
    found = imported - sys.stdlib_module_names - {"seq2att"}
    assert found >= needed
    assert found - needed <= optional


def test_contributing_shows_the_layers_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["id"] == "layers")
    shown = "\n".join(layer.replace(" | ", ", ") for layer in layers if layer != "__main__")
    assert f"```\n{shown}\n```" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_contributing_names_every_law() -> None:
    from seq2att.testing import MODEL_LAWS

    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M)
    assert table == [law.__name__ for law in MODEL_LAWS]


def test_each_make_target_explains_itself() -> None:
    targets = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[0].split()
    explained = [
        line.split()[0] for line in run("make", "--no-print-directory", "help", cwd=ROOT, MAKEFLAGS="").splitlines()
    ]
    assert {"demo", "test", "check"} <= set(targets)
    assert targets == explained


def test_the_table_of_recipes_is_complete() -> None:
    table = (ROOT / "recipes" / "README.md").read_text("utf-8").partition("## Measured")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.M)) == sorted(path.stem for path in ROOT.glob("recipes/*.yaml"))


# --- the arrows ---


def test_import_contracts_hold() -> None:
    lint = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    assert "0 broken" in run(sys.executable, "-c", lint, "--no-cache", cwd=ROOT)


def registered(source: str) -> set[str]:
    """The names of the classes and functions that a module registers."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).rpartition(".")[2] == "register"
    }


def concrete_imports(modules: Mapping[str, str]) -> list[str]:
    """Where one component's module imports what another one registers, or all of it by a bare `import`."""
    concrete = {module: registered(source) for module, source in modules.items()}
    found = []
    for module, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                other = node.module.removeprefix("seq2att.").partition(".")[0]
                names = {alias.name for alias in node.names}
                if other != module and names & concrete.get(other, set()):
                    found.append(f"{module} imports {', '.join(sorted(names & concrete[other]))} of {other}")
                if node.module == "seq2att":
                    found += [f"{module} imports all of {name}" for name in sorted(names & concrete.keys())]
    return found


def source_of(kind: str) -> str:
    """The source of a kind's module, or of all files of its folder."""
    paths = sorted((ROOT / "seq2att").glob(f"{kind}.py")) + sorted((ROOT / "seq2att" / kind).rglob("*.py"))
    assert paths, f"no module seq2att/{kind}.py"
    return "\n".join(path.read_text("utf-8") for path in paths)


def test_components_import_base_classes_only() -> None:
    sources = {kind: source_of(kind) for kind in COMPONENTS}
    assert "Additive" in registered(sources["attention"])
    assert concrete_imports(sources) == []


def test_concrete_import_is_noticed() -> None:
    attention = "@register('attention', 'dot')\nclass Dot(Attention): ...\n"
    guilty = {"attention": attention, "decoder": "def f():\n    from seq2att.attention import Attention, Dot"}
    assert concrete_imports(guilty) == ["decoder imports Dot of attention"]
    assert concrete_imports({**guilty, "decoder": "from seq2att import attention"}) == [
        "decoder imports all of attention"
    ]
    assert concrete_imports({**guilty, "decoder": "from seq2att.attention import Attention"}) == []


# --- what the style promises ---


def definitions(path: Path) -> Iterator[Definition]:
    """Every function of a file, with the lines of its body (not of its docstring)."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body:
                assert node.end_lineno is not None
                yield Definition(
                    f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - body[0].lineno + 1
                )


def test_functions_and_modules_are_as_short_as_contributing_says() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (limits,) = re.findall(r"No function is longer than (\d+) lines, no module longer than (\d+),", text)
    most_of_function, most_of_module = map(int, limits)
    paths = sorted((ROOT / "seq2att").rglob("*.py"))
    functions = [definition for path in paths for definition in definitions(path)]
    assert len(functions) > 100
    assert [function for function in functions if function.lines > most_of_function] == []
    modules = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {name: lines for name, lines in modules.items() if lines > most_of_module} == {}


def inner_functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions inside of functions of a file without a docstring, with the lines of their bodies."""
    for outer in ast.walk(ast.parse(path.read_text("utf-8"))):
        for node in ast.walk(outer) if isinstance(outer, ast.FunctionDef) else ():
            if node is not outer and isinstance(node, ast.FunctionDef) and not ast.get_docstring(node):
                assert node.end_lineno is not None
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.body[0].lineno + 1


def undocumented_methods(module: ModuleType) -> Iterator[str]:
    """The methods of a module's classes without a docstring that override none with one; ruff sees functions."""
    for kind in vars(module).values():
        if inspect.isclass(kind) and kind.__module__ == module.__name__:
            for name, method in vars(kind).items():
                has_words = [getattr(getattr(base, name, None), "__doc__", None) for base in kind.__mro__]
                is_ours = inspect.isfunction(method) and method.__module__ == module.__name__
                if is_ours and not name.startswith("__") and not any(has_words):
                    yield f"{module.__name__}.{kind.__name__}.{name}"


def test_every_method_and_longer_function_has_a_docstring() -> None:
    import seq2att

    longer = [name for path in (ROOT / "seq2att").rglob("*.py") for name, lines in inner_functions(path) if lines > 7]
    assert longer == []
    names = [info.name for info in pkgutil.walk_packages(seq2att.__path__, "seq2att.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    assert [method for module in modules for method in undocumented_methods(module)] == []


def committed() -> list[Path]:
    """The files that are, or would be, in the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository here")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    return [path for name in names if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("meaning", "pattern"),
    [
        ("a path of one machine", r"(?<![\w.~*/$}-])/(work|root|opt|home|Users)/"),
        ("the host of a package registry", r"(pypi\.(org|python)|pythonhosted|download\.pytorch)\b"),
        ("unfinished work", r"\b(TODO|FIXME|XXX|HACK)\b"),
    ],
)
def test_no_committed_file_names(meaning: str, pattern: str) -> None:
    texts = [
        path for path in committed() if path.name != Path(__file__).name and path.suffix not in (".png", ".safetensors")
    ]
    assert ROOT / "pyproject.toml" in texts
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in texts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == [], f"committed files name {meaning}"
