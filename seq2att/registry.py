"""The registry: one decorator turns a class into a component that a configuration can name.

The star rule: in a component's signature, what stands before `*` is given by the program (sizes, factories);
what stands after it is an option, annotated, with a default where a good one exists. The options are the
configuration schema: nothing is written twice.

    @register("attention", "scaled_dot")
    class ScaledDot(Attention):
        def __init__(self, query_size: int, memory_size: int, *, temperature: float = 1.0) -> None: ...

Registering builds no torch object, and this module imports neither torch nor Hydra.
"""

from __future__ import annotations

import difflib
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import linecache
import re
import sys
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from seq2att.errors import UserError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MISSING = "???"  # what OmegaConf calls a value that must be given
ENTRY_POINTS = "seq2att.plugins"
COMPONENTS = (  # a kind = its module
    "encoder attention decoder output head search field tokenizer reader metric optimizer schedule callback logger"
).split()
RESERVED = frozenset({"keys", "items", "values", "get", "pop", "copy", "name"})  # OmegaConf's own methods, our own key


class RegistryError(UserError):
    """A component, a plugin or a name that the registry cannot take; the message says how to mend it."""


class Factory(Generic[T_co]):
    """Makes a component of the asked kind from what the program gives; annotate with `Factory[Attention]`."""

    def __call__(self, *context: Any) -> T_co:
        raise NotImplementedError  # only the type counts: `build` passes a partial of itself


class Option(NamedTuple):
    """One option of a component: what stands after the star."""

    annotation: Any
    default: Any  # MISSING when it must be given


@dataclass(frozen=True)
class Kind:
    """A kind of component: its base, and what the program gives to each of its components."""

    name: str
    base: Any
    context: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A registered component."""

    kind: str
    name: str
    target: Callable[..., Any]
    asks: Mapping[str, str]  # parameter (= slot) -> kind, from `attention: Factory[Attention]`
    options: Mapping[str, Option]

    @property
    def doc(self) -> str:
        """The first line of the component's docstring."""
        return (inspect.getdoc(self.target) or "").partition("\n")[0]

    @property
    def place(self) -> str:
        """Where the component is written: `file:line`."""
        return place(self.target)

    @functools.cached_property
    def schema(self) -> type:
        """A dataclass of the options with their types and defaults: the structured Hydra config."""
        fields: list[Any] = [("name", str, field(default=self.name))]
        fields += [schema_field(name, option) for name, option in self.options.items()]
        return make_dataclass(f"{self.kind}_{self.name}", fields)


_kinds: dict[str, Kind] = {}
_entries: dict[str, dict[str, Entry]] = {}


def kind(name: str) -> Callable[[T], T]:
    """Declare a kind by its base class or function: the parameters before its star are what the program gives."""

    def decorate(base: T) -> T:
        taken = _kinds.get(name)
        if taken is not None and identity(taken.base) != identity(base):
            raise RegistryError(f"the kind {name!r} of {place(base)} is taken by {place(taken.base)}; name another")
        given = [p.name for p in inspect.signature(base).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]  # type: ignore[arg-type]
        _kinds[name] = Kind(name, base, tuple(given))
        _entries.setdefault(name, {})
        return base

    return decorate


def register(kind: str, name: str) -> Callable[[T], T]:
    """Make a class or function a component `kind=name`; an error says what to change in its signature."""

    def decorate(target: T) -> T:
        if kind in COMPONENTS and kind not in _kinds:
            importlib.import_module(f"seq2att.{kind}")
        if kind not in _kinds:
            raise RegistryError(f"there is no kind of component called {kind!r}{known(kind, _kinds)}")
        entry = make_entry(_kinds[kind], name, target)
        taken = _entries[kind].get(name)
        if taken is not None and identity(taken.target) != identity(target):
            raise RegistryError(f"{kind}={name} of {entry.place} is taken by {taken.place}; register another name")
        _entries[kind][name] = entry
        return target

    return decorate


def make_entry(kind: Kind, name: str, target: Any) -> Entry:
    """Read a component's signature by the star rule."""
    parameters = inspect.signature(target).parameters.values()
    hints = resolved_hints(kind.name, name, target)
    for p in parameters:
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            swallows = f"*{p.name}" if p.kind is p.VAR_POSITIONAL else f"**{p.name}"
            raise refusal(kind.name, name, target, f"{swallows} would swallow typos; name every option after a bare *")
    before = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    asks = {}
    for parameter in before[len(kind.context) :]:
        asked = kind_of(hints.get(parameter))
        if asked is None:
            break
        asks[parameter] = asked
    if tuple(before) != (*kind.context, *asks):
        given = ", ".join(kind.context) or "nothing"
        why = (
            f"what stands before the * is ({', '.join(before)}), but the program gives {given}, then factories "
            f"(as in `attention: Factory[Attention]`); write the options after the *"
        )
        raise refusal(kind.name, name, target, why)
    options = {}
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY:
            problem = option_problem(p.name, hints.get(p.name, inspect.Parameter.empty), p.default)
            if problem:
                raise refusal(kind.name, name, target, problem)
            options[p.name] = Option(hints[p.name], MISSING if p.default is p.empty else p.default)
    return Entry(kind.name, name, target, asks, options)


def resolved_hints(kind: str, name: str, target: Any) -> dict[str, Any]:
    """The annotations of a component's signature, resolved."""
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError as error:
        why = f"the annotation {error.name!r} cannot be resolved; import it at run time, not only for type checking"
        raise refusal(kind, name, target, why) from error


def refusal(kind: str, name: str, target: Any, why: str) -> RegistryError:
    """The error about a component that cannot be registered."""
    return RegistryError(f"{kind}={name} ({place(target)}): {why}")


def option_problem(name: str, annotation: Any, default: Any) -> str | None:
    """Why no configuration could hold an option, if so."""
    if name in RESERVED:
        return f"an option cannot be called {name!r} (configurations use it); rename it"
    if annotation is inspect.Parameter.empty:
        return f"option {name!r} has no annotation; write `{name}: int = ...`"
    if not holds(annotation):
        return (
            f"option {name!r} is annotated {shown(annotation)}; allowed are bool, int, float, str, Literal of strings, "
            f"list, tuple[X, ...] and dict[str, X] of those, and each with `| None`"
        )
    if default is not inspect.Parameter.empty and not fits(annotation, default):
        return f"the default {default!r} of option {name!r} is no {shown(annotation)}"
    return None


def shown(annotation: Any) -> str:
    """A type as it is written."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return "None" if annotation is type(None) else annotation.__qualname__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(shown, arguments))
    return str(annotation).replace("typing.", "")


def holds(annotation: Any, container: bool = True) -> bool:
    """Whether OmegaConf can hold values of this type."""
    if annotation in (bool, int, float, str):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return all(isinstance(argument, str) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        return holds(rest[0], container) if len(rest) == 1 else all(r in (bool, int, float, str) for r in rest)
    if not container:
        return False
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is Ellipsis and holds(arguments[0], container=False)
    if origin is dict:
        return arguments[0] is str and holds(arguments[1], container=False)
    return origin is list and holds(arguments[0], container=False)


def fits(annotation: Any, value: Any) -> bool:
    """Whether a default is of the annotated type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(value is None if argument is type(None) else fits(argument, value) for argument in arguments)
    if origin in (tuple, list):
        return isinstance(value, origin) and all(fits(arguments[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(arguments[1], item) for item in value.values())
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def schema_field(name: str, option: Option) -> tuple[str, Any, Any]:
    """One option as a dataclass field; OmegaConf takes no Literal, so choices become an Enum."""
    annotation, default = enumerated(name, option.annotation), option.default
    if isinstance(default, list | tuple | dict):
        plain = dict(default) if isinstance(default, dict) else list(default)
        return name, annotation, field(default_factory=lambda: plain.copy())
    return name, annotation, field(default=default)


def enumerated(name: str, annotation: Any) -> Any:
    """The annotation with an Enum in the place of Literal, wherever it stands."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return enum.Enum(name, {choice: choice for choice in arguments})
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(enumerated(name, argument) for argument in arguments)]  # noqa: UP007
    if origin in (list, dict, tuple):
        return origin[tuple(argument if argument is ... else enumerated(name, argument) for argument in arguments)]
    return annotation


def kind_of(annotation: Any) -> str | None:
    """The kind that `Factory[Base]` asks for, else None."""
    if typing.get_origin(annotation) is not Factory:
        return None
    (base,) = typing.get_args(annotation)
    for known_kind in _kinds.values():
        if known_kind.base is base:
            return known_kind.name
    return None


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    return dict(_kinds)


def entries(kind: str) -> dict[str, Entry]:
    """All components of a kind by name."""
    if kind not in _kinds:
        raise RegistryError(f"there is no kind of component called {kind!r}{known(kind, _kinds)}")
    return dict(_entries[kind])


def find(kind: str, name: str) -> Entry:
    """The component `kind=name`."""
    of_kind = entries(kind)
    if name not in of_kind:
        raise RegistryError(
            f"{kind}={name}: no {kind} is called {name!r}{known(name, of_kind)}; "
            f"a component of your own needs plugins=[your_file.py]"
        )
    return of_kind[name]


def build(kind: str, slots: Mapping[str, Any], *context: Any, slot: str | None = None) -> Any:
    """Make the component that the configuration names in a slot (by default the slot called as the kind).

    What the component asks for before its star reaches it as a factory, which builds from a slot inside the
    component's own options (`source.tokenizer`) or beside it (`attention`).
    """
    slot = slot or kind
    if slot not in slots:
        raise RegistryError(f"the configuration has no {slot!r}{known(slot, slots)}")
    options = dict(slots[slot])
    entry = find(kind, options.pop("name"))
    nested = {name: options.pop(name) for name in entry.asks if name in options}
    for name in options:
        if name not in entry.options:
            raise RegistryError(
                f"{slot}.{name}: {slot}={entry.name} has no option {name!r}{known(name, entry.options)}"
            )
    factories = [
        functools.partial(build, asked, {**slots, **nested}, slot=parameter) for parameter, asked in entry.asks.items()
    ]
    return entry.target(*context, *factories, **options)


def known(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: the names there are, and the nearest one."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"; known: {', '.join(names) or 'none'}{hint}"


def place(target: Any) -> str:
    """Where a class or function is written: `file:line`."""
    target = inspect.unwrap(target)
    file, name = identity(target)
    if not inspect.isclass(target):
        return f"{file}:{target.__code__.co_firstlineno}"
    start = re.compile(rf"\s*class {target.__name__}\b")  # inspect would parse the whole file, once for every class
    lines = (number for number, line in enumerate(linecache.getlines(file), 1) if start.match(line))
    line = next(lines, None)
    return f"{file}:{line}" if line else f"{target.__module__}.{name}"  # written at a prompt


def identity(target: Any) -> tuple[str, str]:
    """What a class or function is told from others by: it stays the same when its file is imported again."""
    target = inspect.unwrap(target)
    try:
        return inspect.getsourcefile(target) or target.__module__, target.__qualname__
    except (OSError, TypeError):  # written at a prompt
        return target.__module__, target.__qualname__


def load(plugins: Iterable[str] = ()) -> None:
    """Fill the registry: our own components, installed plugins (entry points), then the named files and packages."""
    for module in COMPONENTS:
        importlib.import_module(f"seq2att.{module}")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except ImportError as error:
            owner = point.dist.name if point.dist else point.name
            raise RegistryError(
                f"the installed plugin {owner!r} ({point.value}) cannot be imported: {error}; "
                f"install what it needs, or `pip uninstall {owner}`"
            ) from error
    for plugin in plugins:
        load_plugin(plugin)


def load_plugin(plugin: str) -> None:
    """Import one plugin: a file.py, the folder of a package or of its project, or the name of a module."""
    path = Path(plugin)
    if plugin.endswith(".py"):
        if not path.is_file():
            raise RegistryError(
                f"plugins: there is no file {plugin!r}; name a file.py, a folder or an installed module"
            )
        import_file(path)
    elif path.is_dir():
        import_folder(path)
    else:
        try:
            importlib.import_module(plugin)
        except ModuleNotFoundError as error:
            if error.name != plugin.partition(".")[0]:
                raise
            raise RegistryError(
                f"plugins: {plugin!r} is neither a file, a folder nor an installed module; "
                f"check the spelling, or install it with pip"
            ) from error


def import_file(path: Path) -> None:
    """Import a file once, under a name made of its path, so that two files of one name do not collide."""
    name = f"seq2att_plugin_{path.resolve().with_suffix('').as_posix().replace('/', '_').replace('.', '_')}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def import_folder(path: Path) -> None:
    """Import a package by its folder, or a project's entry points by the folder of its pyproject.toml."""
    project = path / "pyproject.toml"
    if (path / "__init__.py").is_file():
        root, modules = path.resolve().parent, [path.resolve().name]
    elif project.is_file():
        points = tomllib.loads(project.read_text("utf-8")).get("project", {}).get("entry-points", {})
        root = path.resolve() / "src" if (path / "src").is_dir() else path.resolve()
        modules = [str(value).partition(":")[0] for value in points.get(ENTRY_POINTS, {}).values()]
        if not modules:
            raise RegistryError(f'{project}: no [project.entry-points."{ENTRY_POINTS}"]; name the module there')
    else:
        raise RegistryError(f"plugins: {path} has neither __init__.py nor pyproject.toml; name a package or a file.py")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for module in modules:
        importlib.import_module(module)
