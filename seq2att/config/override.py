"""Overrides: `key=value` as Hydra's grammar has it, read by the type of the option.

A text option takes what stands after the equal sign as it stands: Korean letters, `~`, `(`, quotes and 1.10 need no
quoting there, although Hydra's own grammar takes none of them. The same holds for the texts in a list or a mapping,
such as [NaN, 1.10, no]; there and everywhere, a text in double quotes is one of JSON.
"""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from seq2att.config.options import ConfigError
from seq2att.errors import UserError
from seq2att.registry.value import parts, shorten_value

SHAPE = re.compile(r"(\+\+|\+|~|)([^=]*)(=?)(.*)", re.DOTALL)
PIECES = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[][{}():,]|[^][{}():,'"]+|.""", re.DOTALL)
ESCAPES = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)  # in double quotes
QUOTED = re.compile(r"""'(?:\\.|''|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
QUOTE = 'quote texts with commas, colons or quotes in them, as in ["a, b", "it\'s"]'
BRACKETS = {"[": "]", "{": "}"}
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

    def parse(self, annotation: Any) -> Any:
        """The value for an option of this type; `E-syntax` where it is a list or a mapping that cannot be read."""
        try:
            return parse_value(self.value, annotation)
        except UserError as error:
            raise ConfigError(error.code, shorten_value(self.text), error.problem, error.remedy) from error


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
    for part in parts(annotation):
        origin, arguments = typing.get_origin(part), typing.get_args(part)
        if origin in (list, tuple) and text.startswith("[") and is_in_brackets(text):
            return [parse_value(checked_item(item), arguments[0]) for item in split_items(text)]
        if origin is dict and text.startswith("{") and is_in_brackets(text):
            pairs = [split_pair(item) for item in split_items(text)]
            return {parse_value(key, str): parse_item(value, arguments[1]) for key, value in pairs}
    if is_text(annotation) or (holds_texts(annotation) and not text.startswith(("[", "{"))):
        is_null = text.lower() == "null" and type(None) in parts(annotation)
        return None if is_null else unquote(text) if QUOTED.fullmatch(text) else text
    parsed = parse(text)
    return parse_yaml(text) if parsed is None else parsed.value()


def is_in_brackets(text: str) -> bool:
    """Whether the bracket that a text begins with is closed by its last character, as in no pattern like [ab][cd]."""
    pieces, depth = PIECES.findall(text), 0
    for piece in pieces[:-1]:
        depth += (piece in "[{(") - (piece in "]})")
        if depth == 0:
            return False
    return bool(pieces) and pieces[-1] == BRACKETS.get(text[0])


def split_items(text: str) -> list[str]:
    """The items between brackets, stripped; a comma may follow the last one."""
    items = [item.strip() for item in split_commas(text[1:-1])]
    return items if items[-1] else items[:-1]


def split_pair(item: str) -> tuple[str, str]:
    """The key and the value of an item of a mapping, at its first colon outside of quotes, before a space if any is."""
    pieces = PIECES.findall(item)
    colons = [place for place, piece in enumerate(pieces) if piece == ":"]
    if not colons:
        raise ConfigError("E-syntax", item, f"{shorten_value(item)} is no key and value", 'write {"key": "value"}')
    place = next((place for place in colons if "".join(pieces[place + 1 : place + 2])[:1] in ("", " ")), colons[0])
    key, value = "".join(pieces[:place]).strip(), "".join(pieces[place + 1 :]).strip()
    return checked_item(key, is_key=True), value


def parse_item(value: str, annotation: Any) -> Any:
    """The value of a key; None for nothing and for JSON's null, which no text of a mapping is."""
    return None if value in ("", "null") else parse_value(checked_item(value), annotation)


def checked_item(item: str, is_key: bool = False) -> str:
    """An item, if it is in quotes as a whole or needs none; `E-syntax` where one cannot tell."""
    pieces = PIECES.findall(item)
    is_nested = not is_key and item[:1] in BRACKETS and is_in_brackets(item)
    is_unclear = not item or is_nested or "," in pieces or any(map(QUOTED.fullmatch, pieces))
    if is_unclear and not QUOTED.fullmatch(item):
        raise ConfigError("E-syntax", item, f"{shorten_value(item)} in a list or mapping is not clear", QUOTE)
    return item


def unquote(text: str) -> str:
    r"""The text in quotes; in double ones with the escapes of JSON, where any other backslash is one, as in `\w`."""
    if text[0] == '"':
        return str(json.loads(ESCAPES.sub(keep_backslash, text), strict=False))
    parsed = parse(text)
    return text[1:-1].replace("''", "'") if parsed is None else str(parsed.value())


def keep_backslash(match: re.Match[str]) -> str:
    """An escape as it stands if JSON has it, else with its backslash escaped."""
    return match[0] if len(match[1]) > 1 or match[1] in '"\\/bfnrt' else f"\\{match[0]}"


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
