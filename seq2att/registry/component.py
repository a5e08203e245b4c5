"""Kinds and entries: declaring, registering, finding and building components."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import linecache
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Generic, TypeVar

from seq2att.errors import UserError
from seq2att.registry.option import MISSING, Option, option_problem, schema_field

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

COMPONENTS = (  # a kind = its module
    "encoder attention decoder output head search field tokenizer reader metric optimizer schedule callback logger"
).split()


class RegistryError(UserError):
    """A component, a plugin or a name that the registry cannot take; the message says how to mend it."""


class Factory(Generic[T_co]):
    """Makes a component of the asked kind from what the program gives; annotate with `Factory[Attention]`."""

    def __call__(self, *context: Any) -> T_co:
        raise NotImplementedError  # only the type counts: `build` passes a partial of itself


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
    def location(self) -> str:
        """Where the component is written: `file:line`."""
        return location(self.target)

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
            raise RegistryError(
                f"the kind {name!r} of {location(base)} is taken by {location(taken.base)}; name another"
            )
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
            raise RegistryError(f"there is no kind of component called {kind!r}; {suggestion(kind, _kinds)}")
        entry = make_entry(_kinds[kind], name, target)
        taken = _entries[kind].get(name)
        if taken is not None and identity(taken.target) != identity(target):
            raise RegistryError(
                f"{kind}={name} of {entry.location} is taken by {taken.location}; register another name"
            )
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
    return RegistryError(f"{kind}={name} ({location(target)}): {why}")


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
    """All kinds by name, our own first, in one order whatever was imported first."""
    return {name: _kinds[name] for name in dict.fromkeys([*COMPONENTS, *_kinds]) if name in _kinds}


def entries(kind: str) -> dict[str, Entry]:
    """All components of a kind by name."""
    if kind not in _kinds:
        raise RegistryError(f"there is no kind of component called {kind!r}; {suggestion(kind, _kinds)}")
    return dict(_entries[kind])


def find(kind: str, name: str) -> Entry:
    """The component `kind=name`."""
    of_kind = entries(kind)
    if name not in of_kind:
        raise RegistryError(
            f"{kind}={name}: no {kind} is called {name!r}; {suggestion(name, of_kind)}; "
            f"a component of your own needs plugins=[your_file.py]"
        )
    return of_kind[name]


def is_interchangeable(one: Entry, other: Entry) -> bool:
    """Whether two components are made from one class that says `interchangeable`: what tunes one tunes the other."""
    families = [
        {base for base in inspect.getmro(entry.target) if vars(base).get("interchangeable")}
        for entry in (one, other)
        if inspect.isclass(entry.target)
    ]
    return len(families) == 2 and bool(families[0] & families[1])


def build(kind: str, slots: Mapping[str, Any], *context: Any, slot: str | None = None) -> Any:
    """Make the component that the configuration names in a slot (by default the slot called as the kind).

    What the component asks for before its star reaches it as a factory, which builds from a slot inside the
    component's own options (`source.tokenizer`) or beside it (`attention`).
    """
    slot = slot or kind
    if slot not in slots:
        raise RegistryError(f"the configuration has no {slot!r}; {suggestion(slot, slots)}")
    options = dict(slots[slot])
    entry = find(kind, options.pop("name"))
    nested = {name: options.pop(name) for name in entry.asks if name in options}
    for name in options:
        if name not in entry.options:
            raise RegistryError(
                f"{slot}.{name}: {slot}={entry.name} has no option {name!r}; {suggestion(name, entry.options)}"
            )
    factories = [
        functools.partial(build, asked, {**slots, **nested}, slot=parameter) for parameter, asked in entry.asks.items()
    ]
    return entry.target(*context, *factories, **options)


def build_listed(kind: str, config: Mapping[str, Any], name: str, *context: Any) -> Any:
    """Make a component that a setting lists by name, such as a metric, with its options in the block of its kind.

    Options that the configuration does not hold (that of a bundle of an earlier version) have their defaults.
    """
    slot = f"{kind}.{name}"
    return build(kind, {slot: {**config.get(kind, {}).get(name, {}), "name": name}}, *context, slot=slot)


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of an error about an unknown name: the names there are, and the nearest one."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"known: {', '.join(names) or 'none'}{hint}"


def location(target: Any) -> str:
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
