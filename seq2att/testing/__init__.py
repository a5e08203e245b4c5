"""The laws that every component keeps, for our own tests and for those of plugin authors.

    from seq2att.testing import check

    def test_laws():
        check("attention", "cosine")

`check` builds small models around a component in float64 and holds them against each law; a law that fails raises
`AssertionError` and says what differs. All comparisons are to 1e-10 of the largest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seq2att import registry
from seq2att.head import Generator
from seq2att.testing.cases import DEFAULTS, SURROUNDINGS, Case, cases, make_case, row_of
from seq2att.testing.components import COMPONENT_LAWS
from seq2att.testing.models import GENERATOR_LAWS, MODEL_LAWS

__all__ = ["COMPONENT_LAWS", "DEFAULTS", "MODEL_LAWS", "SURROUNDINGS", "Case", "cases", "check", "make_case", "row_of"]


def check(kind: str, name: str, options: Mapping[str, Any] | None = None) -> None:
    """Hold a component against every law of its kind; `options` are set in every case.

    Errors: `AssertionError` names the law, the components around and what differs; `RegistryError` an unknown name.
    """
    if kind in COMPONENT_LAWS:
        registry.find(kind, name)
        COMPONENT_LAWS[kind](name, options or {})
        return
    for case in cases(kind, name, options or {}):
        says_sequences = isinstance(case.model.head, Generator)
        for law in MODEL_LAWS:
            if says_sequences or law not in GENERATOR_LAWS:
                law(case)
