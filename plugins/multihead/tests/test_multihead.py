import pytest

pytest.importorskip("seq2att_multihead")

from seq2att.testing import check


def test_laws() -> None:
    check("attention", "multihead")
