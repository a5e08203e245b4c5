"""The registry: one decorator turns a class into a component that a configuration can name.

The star rule: in a component's signature, the program passes what stands before `*` (sizes, factories); what
stands after it is an option: annotated, with a default where a good one exists, and a line under `Args:` in the
docstring. The options are the configuration schema, its validation, and the help of `seq2att list`.

    @register("attention", "scaled_dot")
    class ScaledDot(Attention):
        def __init__(self, query_size: int, memory_size: int, *, temperature: Positive = 1.0) -> None: ...

Registering builds no torch object, and this module imports neither torch nor Hydra.
"""

from seq2att.registry.component import (
    COMPONENTS,
    Entry,
    Factory,
    Kind,
    build,
    build_listed,
    entries,
    expect,
    find,
    is_interchangeable,
    kind,
    kinds,
    location,
    register,
    suggestion,
    unknown_component,
)
from seq2att.registry.option import Inherited, Option, RegistryError, parse_args
from seq2att.registry.plugin import ENTRY_POINTS, broken_plugins, load, load_plugin, load_shipped, shipped
from seq2att.registry.value import (
    MISSING,
    Count,
    Finite,
    NonNegative,
    Positive,
    Range,
    Rate,
    Seed,
    Share,
    Size,
    format_type,
    format_value,
)

__all__ = [
    "COMPONENTS",
    "ENTRY_POINTS",
    "MISSING",
    "Count",
    "Entry",
    "Factory",
    "Finite",
    "Inherited",
    "Kind",
    "NonNegative",
    "Option",
    "Positive",
    "Range",
    "Rate",
    "RegistryError",
    "Seed",
    "Share",
    "Size",
    "broken_plugins",
    "build",
    "build_listed",
    "entries",
    "expect",
    "find",
    "format_type",
    "format_value",
    "is_interchangeable",
    "kind",
    "kinds",
    "load",
    "load_plugin",
    "load_shipped",
    "location",
    "parse_args",
    "register",
    "shipped",
    "suggestion",
    "unknown_component",
]
