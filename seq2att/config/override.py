"""Overrides: `key=value` as Hydra's grammar has it, read by the type of the option.

A text option takes what stands after the equal sign as it stands: Korean letters, `~`, `(`, quotes and 1.10 need no
quoting there, although Hydra's own grammar takes none of them.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from seq2att.config.options import ConfigError
from seq2att.errors import UserError
from seq2att.registry.value import parts, shorten_value

SHAPE = re.compile(r"(\+\+|\+|~|)([^=]*)(=?)(.*)", re.DOTALL)
PIECES = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[][{}():,]|[^][{}():,'"]+|.""", re.DOTALL)
SWEEPS = re.compile(r"(choice|range|interval|glob|sort|shuffle)\(.*\)", re.DOTALL)


class Override(NamedTuple):
    """One `key=value` of the command line."""

    text: str
    key: str
    value: str

    @property
    def is_hydra(self) -> bool:
        """Whether it is a setting of Hydra itself."""
        return self.key.startswith(("hydra.", "hydra/"))


def split_overrides(texts: Iterable[str]) -> list[Override]:
    """The overrides, the last one of each key."""
    overrides: dict[str, Override] = {}
    problems: list[UserError] = []
    for text in texts:
        shape = SHAPE.fullmatch(text)
        assert shape is not None  # it matches everything
        sign, key, equal, value = shape.groups()
        shown = shorten_value(text)
        if sign == "~" and not key.startswith("hydra"):
            remedy = "leave it out: settings that the head does not use are ignored"
            problems.append(ConfigError("E-syntax", shown, "a setting cannot be removed", remedy))
        elif not key or not key.isprintable() or (not equal and sign != "~"):
            problems.append(
                ConfigError("E-syntax", shown, "must have the form key=value", "write it as in encoder=gru")
            )
        overrides[key] = Override(text, key, value)
    if problems:
        raise ConfigError.of(problems)
    return list(overrides.values())


def parse_value(text: str, annotation: Any) -> Any:
    """The value of an override for an option of this type, or the text where it cannot be parsed."""
    parsed = parse(text)
    if is_text(annotation) or (holds_texts(annotation) and not text.startswith(("[", "{"))):
        is_quoted = parsed is not None and text[:1] in "'\"" and len(split_commas(text)) == 1
        is_null = text.lower() == "null" and type(None) in parts(annotation)
        return parsed.value() if parsed is not None and (is_quoted or is_null) else text
    return parse_yaml(text) if parsed is None else parsed.value()


def parse(value: str) -> Any | None:
    """What Hydra makes of a value, or None where its grammar does not have it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except (HydraException, ValueError, RecursionError):  # its grammar, a number of 5,000 digits, 1,000 brackets
        return None


def parse_yaml(text: str) -> Any:
    """A list or a mapping with texts that Hydra's grammar lacks, as in `[한국/a.py, b]`; any other text as it is."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not text.startswith(("[", "{")):
        return text
    spaced = re.sub(r"([{,]\s*[^\W\d]\w*):(?=\S)", r"\1: ", text) if text.startswith("{") else text
    try:
        return OmegaConf.to_container(OmegaConf.create(spaced))
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError):
        return text


def quote(text: str) -> str:
    """A text as Hydra's grammar has it."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()


def split_commas(text: str) -> list[str]:
    """The text cut at commas outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in PIECES.findall(text):
        depth += (piece in "[{(") - (piece in "]})")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def is_sweep(override: Override) -> bool:
    """Whether an override has several values."""
    return len(split_commas(override.value)) > 1 or SWEEPS.fullmatch(override.value) is not None


def sweep_problem(override: Override, annotation: Any = str) -> UserError:
    """The error about an override with several values where one is needed."""
    origins = {typing.get_origin(part) for part in parts(annotation)}
    has_list = not origins.isdisjoint({list, tuple}) and not SWEEPS.fullmatch(override.value)
    remedy = "add --multirun to train with one after the other"
    remedy += f", or write one list: {override.key}=[{override.value}]" if has_list else ""
    return ConfigError("E-argument", shorten_value(override.text), "these are several values", remedy)


def holds_texts(annotation: Any) -> bool:
    """Whether an option is a list of texts, of which one may stand alone."""
    return any(
        typing.get_origin(part) in (list, tuple) and is_text(typing.get_args(part)[0]) for part in parts(annotation)
    )


def is_text(annotation: Any) -> bool:
    """Whether an option holds text, which is taken as it stands."""
    return all(part in (str, type(None)) or typing.get_origin(part) is Literal for part in parts(annotation))
