"""The registry: one decorator turns a class into a component that a configuration can name.

The star rule: in a component's signature, what stands before `*` is given by the program (sizes, factories);
what stands after it is an option, annotated, with a default where a good one exists. The options are the
configuration schema: nothing is written twice.

    @register("attention", "scaled_dot")
    class ScaledDot(Attention):
        def __init__(self, query_size: int, memory_size: int, *, temperature: float = 1.0) -> None: ...

Registering builds no torch object, and this module imports neither torch nor Hydra.
"""

from seq2att.registry.component import (
    COMPONENTS,
    Entry,
    Factory,
    Kind,
    RegistryError,
    build,
    build_listed,
    entries,
    find,
    is_interchangeable,
    kind,
    kinds,
    location,
    register,
    suggestion,
)
from seq2att.registry.option import MISSING, Option, format_type, schema_field
from seq2att.registry.plugin import ENTRY_POINTS, load, load_plugin, load_shipped, shipped

__all__ = [
    "COMPONENTS",
    "ENTRY_POINTS",
    "MISSING",
    "Entry",
    "Factory",
    "Kind",
    "Option",
    "RegistryError",
    "build",
    "build_listed",
    "entries",
    "find",
    "format_type",
    "is_interchangeable",
    "kind",
    "kinds",
    "load",
    "load_plugin",
    "load_shipped",
    "location",
    "register",
    "schema_field",
    "shipped",
    "suggestion",
]
