"""Surnames and where they come from: the lists inside the package Faker (MIT), those that are written in Latin letters.

The lists hold common surnames of a country, so a few are those of neighbours: "Schmidt" stands in several.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from seq2att.errors import UserError
from seq2att.reader import Reader, Row
from seq2att.registry import register, suggestion

ORIGINS = {  # the lists of Faker
    "Algerian": ("fr_DZ",),
    "Croatian": ("hr_HR",),
    "Dutch": ("nl_NL",),
    "English": ("en_GB",),
    "Estonian": ("et_EE",),
    "Finnish": ("fi_FI",),
    "French": ("fr_FR",),
    "German": ("de_DE", "de_AT"),
    "Indian": ("en_IN",),
    "Irish": ("ga_IE",),
    "Italian": ("it_IT",),
    "Kenyan": ("en_KE",),
    "Slovak": ("sk_SK",),
    "Spanish": ("es_ES",),
    "Swedish": ("sv_SE",),
    "Zulu": ("zu_ZA",),
}


@register("reader", "surnames")
class Surnames(Reader):
    """Surnames with their origin, 14,000 of 16 origins, from the lists inside the package Faker.

    Args:
        source: what a model reads; the other one is the target.
        origins: the origins to read; empty for all 16.
        shared: whether a name of several origins, which has no one right answer, is skipped, or kept with each of them.
    """

    names_data = False

    def __init__(
        self,
        *,
        source: Literal["name", "origin"] = "name",
        origins: tuple[str, ...] = (),
        shared: Literal["skip", "keep"] = "skip",
    ) -> None:
        self.source, self.shared = source, shared
        self.origins = sorted(set(origins)) or list(ORIGINS)
        for origin in self.origins:
            if origin not in ORIGINS:
                remedy = suggestion(origin, ORIGINS)
                raise UserError("E-choice", f"reader.origins={origin}", "Faker has no surnames of this origin", remedy)

    def check(self, root: Path | None) -> None:
        if find_spec("faker") is None:
            remedy = "run pip install 'seq2att[recipes]'"
            raise UserError("E-package", "reader=surnames", "the package Faker is not installed", remedy)

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        names = {origin: list(surnames(origin)) for origin in self.origins}
        origins = Counter(name for own in names.values() for name in dict.fromkeys(own))
        for origin, own in names.items():
            seen = set()
            for line, name in enumerate(own, 1):
                values = (name, origin) if self.source == "name" else (origin, name)
                again = "the same surname again" if name in seen else ""
                several = "surname of several origins" if self.shared == "skip" and origins[name] > 1 else ""
                seen.add(name)
                skipped = again or several
                yield Row(() if skipped else values, f"surnames/{origin}", line, skipped)

    def fingerprint(self, split: str, root: Path | None) -> str:
        names = [(origin, *surnames(origin)) for origin in self.origins]
        return hashlib.blake2b(repr((self.source, self.shared, names)).encode(), digest_size=16).hexdigest()


def surnames(origin: str) -> Iterator[str]:
    """The surnames of an origin as Faker lists them; men's and women's forms may repeat each other."""
    for locale in ORIGINS[origin]:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        yield from (" ".join(str(name).split()) for name in provider.last_names)
