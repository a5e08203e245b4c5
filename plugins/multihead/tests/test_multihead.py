from pathlib import Path

from seq2att.registry import load_plugin
from seq2att.testing import check


def test_laws() -> None:
    load_plugin(str(Path(__file__).parent.parent))  # also where it is not installed
    check("attention", "multihead")
