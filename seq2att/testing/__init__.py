"""The laws that every component keeps, for our own tests and for those of plugin authors.

    from seq2att.testing import check

    def test_laws():
        check("attention", "cosine")

`check` builds small models around a component in float64 and holds them against each law. A broken law raises
`LawError`, an `AssertionError`: law, case, what differs, and the likeliest cause. Comparisons are to 1e-10 of the
largest value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seq2att import registry
from seq2att.errors import UserError
from seq2att.testing.cases import DEFAULTS, SURROUNDINGS, Case, cases, make_case, row_of
from seq2att.testing.components import COMPONENT_LAWS
from seq2att.testing.failure import LawError, held
from seq2att.testing.models import MODEL_LAWS, laws_of

__all__ = [
    "COMPONENT_LAWS",
    "DEFAULTS",
    "MODEL_LAWS",
    "SURROUNDINGS",
    "Case",
    "LawError",
    "cases",
    "check",
    "make_case",
    "row_of",
]


def check(
    kind: str,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    around: Mapping[str, Mapping[str, Any]] | None = None,
    examples: Sequence[Any] = (),
    report: Callable[[str], None] | None = None,
) -> None:
    """Hold a component against every law of its kind.

    Args:
        kind: kind of the component, such as `attention`.
        name: registered name of the component.
        options: options that are set in every case; those without a default are required.
        around: other slots to set in every case, such as `{"source": {"name": "vectors"}}`.
        examples: values that a field or a tokenizer can read, where it cannot read the kit's own.
        report: called with one line for each case that passes.

    Raises:
        LawError: the component breaks a law.
        UserError: there is no such component, or it cannot be built with these options.
    """
    entry, options, report = registry.find(kind, name), options or {}, report or (lambda line: None)
    required = [key for key, option in entry.options.items() if option.default == registry.MISSING]
    if missing := [key for key in required if key not in options]:
        example = ", ".join(f'"{key}": ...' for key in missing)
        remedy = f'call check("{kind}", "{name}", {{{example}}}), or add {missing[0]}=... on the command line'
        raise UserError("E-missing", f"{kind}={name}", f"needs a value for {', '.join(missing)}", remedy)
    if kind in COMPONENT_LAWS:
        with held(f"{kind}={name}", entry.target):
            COMPONENT_LAWS[kind](name, options, examples)
        report(f"{kind}={name}: all laws hold")
        return
    with held(f"building {kind}={name}", entry.target):
        made = list(cases(kind, name, options, around or {}))
    for case in made:
        for law in laws_of(case):
            with held(f"{law.__name__} law: {case.label}", entry.target, case.shapes):
                law(case)
        report(f"{case.label}: {len(laws_of(case))} laws hold")
