"""How tests assert a refusal: by its stable code and its subject, so that the wording stays free."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from seq2att.errors import UserError


@contextmanager
def refused(code: str, subject: str = "") -> Iterator[pytest.ExceptionInfo[UserError]]:
    """The block raises a `UserError` of this code whose subject (key, or file and line) contains `subject`."""
    with pytest.raises(UserError) as info:
        yield info
    assert info.value.code == code, info.value
    assert subject in info.value.subject, info.value
