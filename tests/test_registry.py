"""The registry: the star rule, its error messages, schemas, plugins."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from seq2att import registry
from seq2att.errors import UserError
from seq2att.registry import MISSING, Factory, RegistryError, build, entries, find, kind, register


class Wheel:
    """A fake kind without context."""


class Engine:
    """A fake kind with context."""

    def __init__(self, power: int, fuel: str) -> None:
        self.power, self.fuel = power, fuel


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fake kinds, and nothing that stays."""
    monkeypatch.setattr(registry.component, "_kinds", {})
    monkeypatch.setattr(registry.component, "_entries", {})
    kind("wheel")(Wheel)
    kind("engine")(Engine)


def refused(decorate: Callable[[], Any]) -> str:
    """The message of a refusal, with `FILE:LINE` in the place of our own lines."""
    with pytest.raises(RegistryError) as caught:
        decorate()
    return re.sub(re.escape(__file__) + r":\d+", "FILE:LINE", str(caught.value))


def test_signature_is_the_schema() -> None:
    @register("engine", "diesel")
    class Diesel(Engine):
        """Burns oil.

        And smokes.
        """

        def __init__(
            self,
            power: int,
            fuel: str,
            wheel: Factory[Wheel],
            *,
            size: int,
            noise: float = 1,
            color: Literal["red", "blue"] | None = None,
            gears: tuple[int, ...] = (1, 2),
            names: list[Literal["a", "b"]] = ["a"],  # noqa: B006
        ) -> None:
            super().__init__(power, fuel)

    entry = find("engine", "diesel")
    assert entry.asks == {"wheel": "wheel"}
    assert list(entry.options) == ["size", "noise", "color", "gears", "names"]
    assert entry.options["size"] == (int, MISSING)
    assert entry.doc == "Burns oil."
    assert entry.location == f"{__file__}:{inspect.getsourcelines(Diesel)[1] + 1}"  # the class, not its decorator
    schema = OmegaConf.structured(entry.schema)
    assert OmegaConf.is_missing(schema, "size")
    schema.merge_with({"color": "blue", "names": ["b", "a"]})
    assert schema.color.value == "blue"
    assert [name.value for name in schema.names] == ["b", "a"]
    assert (schema.name, schema.noise, list(schema.gears)) == ("diesel", 1.0, [1, 2])
    with pytest.raises(Exception, match="expected one of"):
        schema.color = "green"
    with pytest.raises(Exception, match="expected one of"):
        schema.names = ["c"]


def test_defaults_of_two_schemas_are_apart() -> None:
    @register("wheel", "round")
    def wheel(*, spokes: list[int] = [1]) -> None:  # noqa: B006
        """Rolls."""

    first = OmegaConf.structured(find("wheel", "round").schema)
    first.spokes.append(2)
    assert list(OmegaConf.structured(find("wheel", "round").schema).spokes) == [1]


def test_a_function_is_a_component() -> None:
    @register("engine", "steam")
    def steam(power: int, fuel: str, *, whistle: bool = True) -> tuple[int, str, bool]:
        return power, fuel, whistle

    assert build("engine", {"engine": {"name": "steam", "whistle": False}}, 3, "coal") == (3, "coal", False)
    assert find("engine", "steam").place == f"{__file__}:{steam.__code__.co_firstlineno}"


def test_factories_build_from_beside_or_within() -> None:
    @register("wheel", "round")
    class Round(Wheel):
        def __init__(self, *, size: int = 1) -> None:
            self.size = size

    @register("engine", "car")
    class Car(Engine):
        def __init__(self, power: int, fuel: str, wheel: Factory[Wheel], *, doors: int = 4) -> None:
            self.wheel, self.doors = wheel(), doors

    beside = {"engine": {"name": "car"}, "wheel": {"name": "round", "size": 2}}
    within = {"motor": {"name": "car", "doors": 2, "wheel": {"name": "round", "size": 3}}, "wheel": {"name": "nothing"}}
    assert build("engine", beside, 1, "gas").wheel.size == 2
    car = build("engine", within, 1, "gas", slot="motor")
    assert (car.wheel.size, car.doors) == (3, 2)
    assert within["motor"]["wheel"] == {"name": "round", "size": 3}  # untouched


def test_build_refuses_what_it_does_not_know() -> None:
    @register("wheel", "round")
    class Round(Wheel):
        def __init__(self, *, size: int = 1) -> None: ...

    cases = {
        "wheel=ruond: no wheel is called 'ruond'; known: round; did you mean 'round'?; "
        "a component of your own needs plugins=[your_file.py]": {"wheel": {"name": "ruond"}},
        "wheel.sise: wheel=round has no option 'sise'; known: size; did you mean 'size'?": {
            "wheel": {"name": "round", "sise": 3}
        },
        "the configuration has no 'wheel'; known: engine": {"engine": {"name": "car"}},
    }
    for message, slots in cases.items():
        assert refused(lambda slots=slots: build("wheel", slots)) == message
    assert refused(lambda: entries("weel")) == (
        "there is no kind of component called 'weel'; known: engine, wheel; did you mean 'wheel'?"
    )
    assert issubclass(RegistryError, UserError)


def make(source: str) -> Callable[[], Any]:
    """A function with this signature, registered as `engine=x`."""
    space: dict[str, Any] = {"Factory": Factory, "Wheel": Wheel, "Literal": Literal, "__name__": __name__}
    exec(compile(f"def x{source}: ...", __file__, "exec"), space)
    return lambda: register("engine", "x")(space["x"])


HEAD = "engine=x (FILE:LINE): "
ALLOWED = (
    "; allowed are bool, int, float, str, Literal of strings, list, tuple[X, ...] and dict[str, X] of those, "
    "and each with `| None`"
)
WRONG = {
    "(power, fuel, **rest)": "**rest would swallow typos; name every option after a bare *",
    "(power, fuel, *rest)": "*rest would swallow typos; name every option after a bare *",
    "(power, *, a: int = 1)": "what stands before the * is (power), but the program gives power, fuel, then factories "
    "(as in `attention: Factory[Attention]`); write the options after the *",
    "(power, fuel, size: int)": "what stands before the * is (power, fuel, size), but the program gives power, fuel, "
    "then factories (as in `attention: Factory[Attention]`); write the options after the *",
    "(power, fuel, *, size=3)": "option 'size' has no annotation; write `size: int = ...`",
    "(power, fuel, *, items: int = 3)": "an option cannot be called 'items' (configurations use it); rename it",
    "(power, fuel, *, name: str = '')": "an option cannot be called 'name' (configurations use it); rename it",
    "(power, fuel, *, size: object = 3)": "option 'size' is annotated object" + ALLOWED,
    "(power, fuel, *, size: list = 3)": "option 'size' is annotated list" + ALLOWED,
    "(power, fuel, *, size: tuple[int, int] = (1, 2))": "option 'size' is annotated tuple[int, int]" + ALLOWED,
    "(power, fuel, *, size: dict[int, int] | None = None)": "option 'size' is annotated dict[int, int] | None"
    + ALLOWED,
    "(power, fuel, *, size: list[int] | int = 1)": "option 'size' is annotated list[int] | int" + ALLOWED,
    "(power, fuel, *, size: Literal[1, 2] = 1)": "option 'size' is annotated Literal[1, 2]" + ALLOWED,
    "(power, fuel, *, size: int = None)": "the default None of option 'size' is no int",
    "(power, fuel, *, size: int = True)": "the default True of option 'size' is no int",
    "(power, fuel, *, size: int | None = 'a')": "the default 'a' of option 'size' is no int | None",
    "(power, fuel, *, size: Literal['a', 'b'] = 'c')": "the default 'c' of option 'size' is no Literal['a', 'b']",
    "(power, fuel, *, size: 'Tensor' = 'c')": "the annotation 'Tensor' cannot be resolved; import it at run time, "
    "not only for type checking",
}


@pytest.mark.parametrize("signature", WRONG)
def test_wrong_signatures_are_refused(signature: str) -> None:
    assert refused(make(signature)) == HEAD + WRONG[signature]
    assert entries("engine") == {}


def test_names_are_taken_once() -> None:
    @register("wheel", "round")
    class Round(Wheel): ...

    register("wheel", "round")(Round)  # the same file imported again

    def again() -> None:
        @register("wheel", "round")
        class Other(Wheel): ...

    assert refused(again) == "wheel=round of FILE:LINE is taken by FILE:LINE; register another name"
    assert find("wheel", "round").target is Round
    assert refused(lambda: kind("wheel")(Engine)) == "the kind 'wheel' of FILE:LINE is taken by FILE:LINE; name another"
    assert refused(lambda: register("weel", "x")(Round)) == (
        "there is no kind of component called 'weel'; known: engine, wheel; did you mean 'wheel'?"
    )


def test_a_kind_without_a_constructor_gives_nothing() -> None:
    import torch

    @kind("module")
    class Module(torch.nn.Module):
        """Torch's own constructor takes *args and **kwargs: they are no context."""

    assert registry.kinds()["module"].context == ()


def test_what_is_written_at_a_prompt_has_a_place() -> None:
    space: dict[str, Any] = {"__name__": "prompt"}
    sys.modules["prompt"] = types.ModuleType("prompt")
    try:
        exec("class Typed: ...", space)
        assert registry.location(space["Typed"]) == "prompt.Typed"
    finally:
        del sys.modules["prompt"]


PLUGIN = """
from seq2att.registry import register
@register("wheel", "{name}")
def wheel(*, size: int = 1):
    return size
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that we are in; modules and paths that a test adds are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_plugins_of_every_shape(here: Path) -> None:
    (here / "a").mkdir()
    (here / "b").mkdir()
    (here / "a/바퀴.py").write_text(PLUGIN.format(name="a"), "utf-8")
    (here / "b/바퀴.py").write_text(PLUGIN.format(name="b"), "utf-8")
    (here / "package").mkdir()
    (here / "package/__init__.py").write_text(PLUGIN.format(name="package"))
    for project, source in (("flat", "flat"), ("nested", "nested/src")):
        (here / source).mkdir(parents=True)
        (here / source / f"{project}_wheel.py").write_text(PLUGIN.format(name=project))
        points = f'[project.entry-points."seq2att.plugins"]\nw = "{project}_wheel:wheel"\n'
        (here / project / "pyproject.toml").write_text(points)
    for plugin in ("a/바퀴.py", "b/바퀴.py", "a/바퀴.py", "package", "flat", "nested"):
        registry.load_plugin(plugin)
    assert sorted(entries("wheel")) == ["a", "b", "flat", "nested", "package"]


def test_a_plugin_that_fails_can_be_loaded_again(here: Path) -> None:
    (here / "p.py").write_text("import seq2att_no_such_module")
    with pytest.raises(ModuleNotFoundError, match="seq2att_no_such_module"):
        registry.load_plugin("p.py")
    (here / "p.py").write_text(PLUGIN.format(name="p") + "# mended\n")
    registry.load_plugin("p.py")
    assert list(entries("wheel")) == ["p"]


def test_missing_plugins_are_named(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "bare").mkdir()
    (here / "bare/pyproject.toml").write_text("[project]\nname = 'x'\n")
    messages = {
        "no.py": "plugins: there is no file 'no.py'; name a file.py, a folder or an installed module",
        "no_such": "plugins: 'no_such' is neither a file, a folder nor an installed module; "
        "check the spelling, or install it with pip",
        "empty": "plugins: empty has neither __init__.py nor pyproject.toml; name a package or a file.py",
        "bare": 'bare/pyproject.toml: no [project.entry-points."seq2att.plugins"]; name the module there',
    }
    for plugin, message in messages.items():
        assert refused(lambda plugin=plugin: registry.load_plugin(plugin)) == message


def test_a_broken_installed_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("w", "seq2att_broken:x", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry.plugin, "COMPONENTS", [])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    assert refused(registry.load) == (
        "the installed plugin 'w' (seq2att_broken:x) cannot be imported: No module named 'seq2att_broken'; "
        "install what it needs, or `pip uninstall w`"
    )


def test_registry_alone_loads_neither_torch_nor_hydra() -> None:
    code = "import sys, seq2att.registry as r; print({'torch', 'hydra', 'omegaconf', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_registering_a_function_of_our_kinds_needs_no_import_of_the_kind() -> None:
    code = (
        "from seq2att.registry import register, entries\n"
        "@register('optimizer', 'mine')\n"
        "def mine(parameters, *, a: int = 1): ...\n"
        "assert {'mine', 'adam'} <= set(entries('optimizer'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plugin_that_is_no_python_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("x = 1\ndef (:\n")
    message = refused(lambda: registry.load_plugin("broken.py"))
    assert message.startswith("plugins: ")
    assert message.endswith("broken.py:2: invalid syntax; mend the line")


def test_a_plugin_of_our_recipes_is_found_by_its_bare_name(here: Path) -> None:
    file = registry.shipped("digits.py")
    assert file is not None
    assert file.name == "digits.py"
    for name in ("nothing.py", "README.md", "../recipes/digits.py", str(file), "digits"):
        assert registry.shipped(name) is None


def test_what_only_looks_like_a_plugin_of_ours_is_not_imported(here: Path) -> None:
    (here / "mine.py").write_text("raise RuntimeError('imported')")
    (here / "digits.py").write_text("raise RuntimeError('imported')")
    registry.load_shipped(["mine.py", "./digits.py", str(here / "digits.py"), "os"])
    with pytest.raises(RuntimeError, match="imported"):
        registry.load_plugin("digits.py")  # asked for by name, the one here comes first
