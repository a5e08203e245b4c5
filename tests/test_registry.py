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

from seq2att import registry
from seq2att.errors import UserError
from seq2att.registry import (
    MISSING,
    Factory,
    Inherited,
    RegistryError,
    build,
    entries,
    find,
    kind,
    parse_args,
    register,
)
from tests.refusals import refused as raises


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
    monkeypatch.setattr(registry.component, "_broken", {})
    monkeypatch.setattr(registry.plugin, "_broken", registry.component._broken)
    kind("wheel")(Wheel)
    kind("engine")(Engine)


def refused(decorate: Callable[[], Any]) -> tuple[str, str]:
    """The code and the subject of a refusal, with `FILE:LINE` in the place of our own lines."""
    with pytest.raises(RegistryError) as caught:
        decorate()
    return caught.value.code, re.sub(re.escape(__file__) + r":\d+", "FILE:LINE", caught.value.subject)


def test_signature_is_the_schema() -> None:
    @register("engine", "diesel")
    class Diesel(Engine):
        """Burns oil.

        And smokes.

        Args:
            size: litres of the cylinder;
                at least 1.
            color (str): of the paint.

        Shape:
            gears: no option's line.
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
    assert entry.factories == {"wheel": "wheel"}
    assert list(entry.options) == ["size", "noise", "color", "gears", "names"]
    assert entry.options["size"] == (int, MISSING, "litres of the cylinder; at least 1.")
    assert entry.options["color"].doc == "of the paint."
    assert entry.options["gears"].doc == ""
    assert entry.doc == "Burns oil."
    assert entry.location == f"{__file__}:{inspect.getsourcelines(Diesel)[1] + 1}"  # the class, not its decorator


def test_inherited_options_need_not_be_repeated() -> None:
    class Steam(Engine):
        """Boils water.

        Args:
            size: litres of the kettle.
            noise: in decibels.
        """

        def __init__(self, power: int, fuel: str, *, size: int = 1, noise: float = 2.0) -> None:
            super().__init__(power, fuel)
            self.size, self.noise = size, noise

    @register("engine", "whistling")
    class Whistling(Steam):
        """Whistles.

        Args:
            noise: much.
            pitch: in hertz.
        """

        def __init__(self, power: int, fuel: str, *, pitch: float = 3.0, **options: Inherited) -> None:
            super().__init__(power, fuel, **options)
            self.pitch = pitch

    entry = find("engine", "whistling")
    assert {name: option.doc for name, option in entry.options.items()} == {
        "size": "litres of the kettle.",
        "noise": "much.",
        "pitch": "in hertz.",
    }
    engine = build("engine", {"engine": {"name": "whistling", "size": 5, "pitch": 1.0}}, 3, "coal")
    assert (engine.power, engine.size, engine.noise, engine.pitch) == (3, 5, 2.0, 1.0)
    with pytest.raises(TypeError, match="sise"):
        Whistling(3, "coal", sise=3)


def test_the_lines_of_arguments_are_parsed() -> None:
    assert parse_args(None) == parse_args("Args.") == {}
    text = "One.\n\nArgs:\n    a: first\n        and on.\n\n    b (int): second.\nReturns:\n    c: no."
    assert parse_args(text) == {"a": "first and on.", "b": "second."}


def test_a_function_is_a_component() -> None:
    @register("engine", "steam")
    def steam(power: int, fuel: str, *, whistle: bool = True) -> tuple[int, str, bool]:
        return power, fuel, whistle

    assert build("engine", {"engine": {"name": "steam", "whistle": False}}, 3, "coal") == (3, "coal", False)
    assert find("engine", "steam").location == f"{__file__}:{steam.__code__.co_firstlineno}"


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

    cases: dict[tuple[str, str], dict[str, Any]] = {
        ("E-component", "wheel=ruond"): {"wheel": {"name": "ruond"}},
        ("E-option", "wheel.sise"): {"wheel": {"name": "round", "sise": 3}},
        ("E-missing", "wheel"): {"engine": {"name": "car"}},
    }
    for error, slots in cases.items():
        assert refused(lambda slots=slots: build("wheel", slots)) == error
    assert refused(lambda: entries("weel")) == ("E-kind", "kind=weel")
    assert issubclass(RegistryError, UserError)


def make(source: str) -> Callable[[], Any]:
    """A function with this signature, registered as `engine=x`."""
    space: dict[str, Any] = {"Factory": Factory, "Wheel": Wheel, "Literal": Literal, "__name__": __name__}
    exec(compile(f"def x{source}: ...", __file__, "exec"), space)
    return lambda: register("engine", "x")(space["x"])


WRONG = {
    "(power, fuel, **rest)": "**rest",
    "(power, fuel, *rest)": "*rest",
    "(power, *, a: int = 1)": "(power), but the program passes (power, fuel)",
    "(power, fuel, size: int)": "(power, fuel, size), but the program passes (power, fuel)",
    "(power, fuel, *, size=3)": "'size' has no annotation",
    "(power, fuel, *, name: str = '')": "'name'",
    "(power, fuel, *, size: object = 3)": "object",
    "(power, fuel, *, size: list = 3)": "list",
    "(power, fuel, *, size: tuple[int, int] = (1, 2))": "tuple[int, int]",
    "(power, fuel, *, size: dict[int, int] | None = None)": "dict[int, int] | None",
    "(power, fuel, *, size: list[int] | int = 1)": "list[int] | int",
    "(power, fuel, *, size: Literal[1, 2] = 1)": "Literal[1, 2]",
    "(power, fuel, *, size: int = None)": "the default None",
    "(power, fuel, *, size: int = True)": "the default True",
    "(power, fuel, *, size: int | None = 'a')": "the default 'a'",
    "(power, fuel, *, size: Literal['a', 'b'] = 'c')": "the default 'c'",
    "(power, fuel, *, size: 'Tensor' = 'c')": "'Tensor' cannot be resolved",
}


@pytest.mark.parametrize("signature", WRONG)
def test_wrong_signatures_are_refused(signature: str) -> None:
    with raises("E-register", "engine=x (") as caught:
        make(signature)()
    assert WRONG[signature] in caught.value.problem
    assert entries("engine") == {}


def test_names_are_taken_once() -> None:
    @register("wheel", "round")
    class Round(Wheel): ...

    register("wheel", "round")(Round)  # the same file imported again

    def again() -> None:
        @register("wheel", "round")
        class Other(Wheel): ...

    assert refused(again) == ("E-register", "wheel=round")
    assert find("wheel", "round").target is Round
    assert refused(lambda: kind("wheel")(Engine)) == ("E-register", "kind=wheel")
    assert refused(lambda: register("weel", "x")(Round)) == ("E-kind", "kind=weel")


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


@pytest.mark.parametrize("a", ["a_b/c.py", "a/b.c.py", "a/b_c.py", "x/c.py"])
@pytest.mark.parametrize("b", ["a/b_c.py", "a.b/c.py", "y/c.py"])
def test_every_plugin_file_is_a_module_of_its_own(here: Path, a: str, b: str) -> None:
    for number, file in enumerate(dict.fromkeys((a, b))):
        (here / file).parent.mkdir(exist_ok=True)
        (here / file).write_text(PLUGIN.format(name=f"wheel{number}"))
        registry.load_plugin(file)
    assert sorted(entries("wheel")) == ["wheel0", "wheel1"][: len({a, b})]


def test_two_packages_of_one_name_are_refused(here: Path) -> None:
    for parent in ("a", "b"):
        (here / parent / "wheels").mkdir(parents=True)
        (here / parent / "wheels/__init__.py").write_text(PLUGIN.format(name=parent))
    registry.load_plugin("a/wheels")
    registry.load_plugin("a/wheels")
    with raises("E-plugin", "plugins=b/wheels"):
        registry.load_plugin("b/wheels")


def test_a_plugin_that_fails_can_be_loaded_again(here: Path) -> None:
    (here / "p.py").write_text("\nimport seq2att_no_such_module")
    with raises("E-plugin", "plugins=p.py") as caught:
        registry.load_plugin("p.py")
    assert "p.py:2: ModuleNotFoundError" in caught.value.problem
    (here / "p.py").write_text(PLUGIN.format(name="p") + "# mended\n")
    registry.load_plugin("p.py")
    assert list(entries("wheel")) == ["p"]


def test_missing_plugins_are_named(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "bare").mkdir()
    (here / "bare/pyproject.toml").write_text("[project]\nname = 'x'\n")
    for plugin in ("no.py", "no_such", "empty"):
        assert refused(lambda plugin=plugin: registry.load_plugin(plugin)) == ("E-plugin", f"plugins={plugin}")
    assert refused(lambda: registry.load_plugin("bare")) == ("E-plugin", "bare/pyproject.toml")


@pytest.mark.parametrize("line", ["import seq2att_no", "raise RuntimeError('no')", "1 / 0", "exit(3)", "def ("])
def test_a_broken_installed_plugin_breaks_nothing_and_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    (here / "seq2att_broken.py").write_text(line)
    sys.path.insert(0, str(here))
    point = importlib.metadata.EntryPoint("w", "seq2att_broken:x", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry.plugin, "COMPONENTS", [])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    register("wheel", "round")(lambda: 1)
    registry.load()
    assert build("wheel", {"wheel": {"name": "round"}}) == 1
    (message,) = registry.broken_plugins()
    assert "plugin w " in message
    with raises("E-plugin", "wheel=square") as caught:
        find("wheel", "square")
    assert "plugin w " in caught.value.problem
    (here / "seq2att_broken.py").write_text("x = 1  # repaired now")
    registry.load()
    assert registry.broken_plugins() == []
    assert refused(lambda: find("wheel", "square")) == ("E-component", "wheel=square")


def test_registry_alone_loads_neither_torch_nor_hydra() -> None:
    heavy = {"torch", "hydra", "omegaconf", "lightning_fabric"}
    code = f"import sys, seq2att.registry; print({heavy} & set(sys.modules))"
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
    with raises("E-plugin", "plugins=broken.py") as caught:
        registry.load_plugin("broken.py")
    assert "broken.py:2: SyntaxError: invalid syntax" in caught.value.problem


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
    with raises("E-plugin", "plugins=digits.py"):
        registry.load_plugin("digits.py")  # asked for by name, the one here comes first


def test_the_line_of_a_plugin_that_fails_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import json\njson.loads('{')\n")
    with raises("E-plugin", "plugins=broken.py") as caught:
        registry.load_plugin("broken.py")
    assert "broken.py:2: JSONDecodeError" in caught.value.problem


def test_names_that_are_not_alike_are_not_suggested() -> None:
    assert "did you mean" not in registry.suggestion("lr", ["learning_rate", "monitor"])
    assert "did you mean 'size'" in registry.suggestion("sise", ["size", "share"])
