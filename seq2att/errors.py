"""The error that a user can mend, and what is asked of numbers in settings."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in a setting or in data: the message names the place, the value, what is allowed and the next step.

    The command line shows the message alone, without a traceback, and exits with 2.
    """


class InputError(UserError):
    """A value of the data that a field refuses; `asked` is the message where it is an input of a trained model."""

    def __init__(self, message: str, asked: str = "") -> None:
        super().__init__(message)
        self.asked = asked or message


def check_size(name: str, value: int, what: str = "size", null: str = "") -> int:
    """The value; `UserError` unless it is 1 or more. `null` says what null would stand for, where that is allowed."""
    if value < 1:
        raise UserError(f"{name}={value} is no {what}; set 1 or more{f', or null for {null}' if null else ''}")
    return value


def check_probability(name: str, value: float) -> float:
    """The value; `UserError` unless it is 0 or more and less than 1."""
    if not 0 <= value < 1:
        raise UserError(f"{name}={value} is no probability below 1; set 0 or more and less than 1")
    return value


def check_rate(name: str, value: float) -> float:
    """The value; `UserError` unless it is more than 0."""
    if not 0 < value < float("inf"):
        raise UserError(f"{name}={value} is no rate to learn at; set a number above 0, such as 0.001")
    return value
