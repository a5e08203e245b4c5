"""Kinds and entries: declaring, registering, finding and building components."""

from __future__ import annotations

import functools
import importlib
import inspect
import linecache
import re
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from seq2att.registry.option import Inherited, Option, RegistryError, make_option, parse_args
from seq2att.registry.value import closest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

COMPONENTS = (  # a kind = its module
    "encoder attention decoder output head search field tokenizer reader metric optimizer schedule callback logger"
).split()


class Factory(Generic[T_co]):
    """Makes a component of a kind from the program's arguments; annotate with `Factory[Attention]`."""

    def __call__(self, *context: Any) -> T_co:
        raise NotImplementedError  # only the type counts: `build` passes a partial of itself


@dataclass(frozen=True)
class Kind:
    """A kind of component: its base, and the arguments that the program passes to each of its components."""

    name: str
    base: Any
    context: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A registered component."""

    kind: str
    name: str
    target: Callable[..., Any]
    factories: Mapping[str, str]  # parameter (= slot) -> kind, from `attention: Factory[Attention]`
    signature: Mapping[str, Option]  # the options as they are written, without their documentation

    @functools.cached_property
    def options(self) -> dict[str, Option]:
        """The options with their documentation, from the `Args:` sections of the class and its bases."""
        classes = reversed(inspect.getmro(self.target)) if inspect.isclass(self.target) else [self.target]
        docs = {name: doc for owner in classes for name, doc in parse_args(owner.__doc__).items()}
        return {name: option._replace(doc=docs.get(name, "")) for name, option in self.signature.items()}

    @property
    def doc(self) -> str:
        """The first line of the component's docstring."""
        return (inspect.getdoc(self.target) or "").partition("\n")[0]

    @property
    def location(self) -> str:
        """Where the component is written: `file:line`."""
        return location(self.target)


_kinds: dict[str, Kind] = {}
_entries: dict[str, dict[str, Entry]] = {}
_broken: dict[str, str] = {}  # installed plugin -> why it cannot be imported


def kind(name: str) -> Callable[[T], T]:
    """Declare a kind by its base class or function: the program passes the parameters before its star."""

    def decorate(base: T) -> T:
        """Note the kind and what the program passes."""
        taken = _kinds.get(name)
        if taken is not None and identity(taken.base) != identity(base):
            problem = f"{location(base)} declares a kind that {location(taken.base)} declares already"
            raise RegistryError("E-register", f"kind={name}", problem, "choose another name")
        context = [p.name for p in inspect.signature(base).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]  # type: ignore[arg-type]
        _kinds[name] = Kind(name, base, tuple(context))
        _entries.setdefault(name, {})
        return base

    return decorate


def register(kind: str, name: str) -> Callable[[T], T]:
    """Make a class or function the component `kind=name`; an error tells what to change in its signature."""

    def decorate(target: T) -> T:
        """Note the component and its options."""
        if kind in COMPONENTS and kind not in _kinds:
            importlib.import_module(f"seq2att.{kind}")
        taken = entries(kind).get(name)
        entry = make_entry(_kinds[kind], name, target)
        if taken is not None and identity(taken.target) != identity(target):
            problem = f"{entry.location} registers a name that {taken.location} has already"
            raise RegistryError("E-register", f"{kind}={name}", problem, "choose another name")
        _entries[kind][name] = entry
        return target

    return decorate


def make_entry(kind: Kind, name: str, target: Any) -> Entry:
    """Read a component's signature by the star rule."""
    subject = f"{kind.name}={name} ({location(target)})"
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
        positional, options = read_signature(target)
    except NameError as error:
        problem, remedy = f"the annotation {error.name!r} cannot be resolved", "import it also at run time"
        raise RegistryError("E-register", subject, problem, remedy) from error
    except RegistryError as error:
        raise RegistryError("E-register", subject, f"{error.subject} {error.problem}", error.remedy) from error
    factories = {}
    for parameter in positional[len(kind.context) :]:
        made = kind_of_factory(hints.get(parameter))
        if made is None:
            break
        factories[parameter] = made
    if tuple(positional) != (*kind.context, *factories):
        passed = f"({', '.join(kind.context)}), then factories (as in `attention: Factory[Attention]`)"
        problem = f"the parameters before the * are ({', '.join(positional)}), but the program passes {passed}"
        raise RegistryError("E-register", subject, problem, "write the options after the *")
    return Entry(kind.name, name, target, factories, options)


def read_signature(target: Any) -> tuple[list[str], dict[str, Option]]:
    """The parameters before the star, and the options after it, with those of the parent for `**options: Inherited`."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(function, include_extras=True)
    positional: list[str] = []
    options: dict[str, Option] = {}
    for p in inspect.signature(target).parameters.values():
        if p.kind is p.VAR_KEYWORD and hints.get(p.name) is Inherited and inspect.isclass(target):
            constructors = [base for base in inspect.getmro(target) if "__init__" in vars(base)]
            options = read_signature(constructors[1])[1] | options
        elif p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            stars = "*" if p.kind is p.VAR_POSITIONAL else "**"
            subject, remedy = f"{stars}{p.name}", "name every option after a bare *"
            raise RegistryError("E-register", subject, "hides misspelled options", remedy)
        elif p.kind is p.KEYWORD_ONLY:
            options[p.name] = make_option(p.name, hints.get(p.name, p.empty), p.default)
        else:
            positional.append(p.name)
    return positional, options


def kind_of_factory(annotation: Any) -> str | None:
    """The kind that `Factory[Base]` makes, else None."""
    if typing.get_origin(annotation) is not Factory:
        return None
    (base,) = typing.get_args(annotation)
    return next((each.name for each in _kinds.values() if each.base is base), None)


def kinds() -> dict[str, Kind]:
    """All kinds by name, our own first, in one order whatever was imported first."""
    return {name: _kinds[name] for name in dict.fromkeys([*COMPONENTS, *_kinds]) if name in _kinds}


def entries(kind: str) -> dict[str, Entry]:
    """All components of a kind by name; `E-kind` where there is no such kind."""
    if kind not in _kinds:
        raise RegistryError("E-kind", f"kind={kind}", "no kind has this name", suggestion(kind, _kinds))
    return dict(_entries[kind])


def find(kind: str, name: str) -> Entry:
    """The component `kind=name`."""
    if name not in entries(kind):
        raise unknown_component(kind, name)
    return _entries[kind][name]


def unknown_component(kind: str, name: str, subject: str = "") -> RegistryError:
    """The error about a name that no component of a kind has; it names installed plugins that cannot be imported."""
    subject, names = subject or f"{kind}={name}", suggestion(name, entries(kind))
    if _broken:
        plugin, why = next(iter(_broken.items()))
        problem = f"no {kind} has this name, and the installed plugin {plugin} cannot be imported ({why})"
        remedy = f"install what it needs, or `pip uninstall {plugin}`; {names}"
        return RegistryError("E-plugin", subject, problem, remedy)
    remedy = f"{names}; a component of your own needs plugins=[your_file.py]"
    return RegistryError("E-component", subject, f"no {kind} has this name", remedy)


def is_interchangeable(entry: Entry, other: Entry) -> bool:
    """Whether both share a base class that sets `interchangeable`: what tunes one also tunes the other."""
    families = [
        {base for base in inspect.getmro(each.target) if vars(base).get("interchangeable")}
        for each in (entry, other)
        if inspect.isclass(each.target)
    ]
    return len(families) == 2 and bool(families[0] & families[1])


def build(kind: str, slots: Mapping[str, Any], *context: Any, slot: str | None = None) -> Any:
    """Make the component that the configuration names in a slot (by default the slot of the kind's name).

    A factory before its star builds from a slot inside the component's own options (`source.tokenizer`), or from one
    at the top (`attention`).
    """
    slot = slot or kind
    if slot not in slots:
        raise RegistryError("E-missing", slot, "the configuration lacks this slot", suggestion(slot, slots))
    options = dict(slots[slot])
    entry = find(kind, options.pop("name"))
    nested = {name: options.pop(name) for name in entry.factories if name in options}
    for name, value in options.items():
        if name not in entry.signature:
            names = suggestion(name, entry.signature)
            raise RegistryError("E-option", f"{slot}.{name}", f"{slot}={entry.name} has no such option", names)
        options[name] = entry.options[name].convert(f"{slot}.{name}={reprlib.repr(value)}", value)
    factories = [
        functools.partial(build, made, {**slots, **nested}, slot=parameter)
        for parameter, made in entry.factories.items()
    ]
    return entry.target(*context, *factories, **options)


def build_listed(kind: str, config: Mapping[str, Any], name: str, *context: Any) -> Any:
    """Make a component that a setting lists by name, such as a metric, with its options in the block of its kind.

    Options that the configuration does not hold (that of a bundle of an earlier version) have their defaults.
    """
    slot = f"{kind}.{name}"
    return build(kind, {slot: {**config.get(kind, {}).get(name, {}), "name": name}}, *context, slot=slot)


def expect(value: Any, expected: type[T], kind: str, component: object) -> T:
    """The value that a component returned; `E-contract` unless it has the type that the base class promises."""
    if not isinstance(value, expected):
        entries = _entries[kind].items()
        name = next((name for name, entry in entries if entry.target is type(component)), type(component).__name__)
        article = "an" if expected.__name__[0] in "AEIOU" else "a"
        problem = f"must return {article} {expected.__name__}, got {type(value).__name__}"
        raise RegistryError("E-contract", f"{kind}={name}", problem, f"docs/plugins/{kind}.md has an example")
    return value


def suggestion(name: str, names: Iterable[str]) -> str:
    """The remedy for an unknown name: the names there are, and the nearest one."""
    names = sorted(names)
    near = closest(name, names)
    hint = f"; did you mean {near!r}?" if near else ""
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
    """The file and the name of a class or function, which stay the same when its file is imported again."""
    target = inspect.unwrap(target)
    try:
        return inspect.getsourcefile(target) or target.__module__, target.__qualname__
    except (OSError, TypeError):  # written at a prompt
        return target.__module__, target.__qualname__
