"""Where the package is not installed, its tests find it here; the small runs are those of seq2att's own tests."""

import sys
from pathlib import Path

from tests.conftest import tiny_run

sys.path.insert(0, str(Path(__file__).parent))
__all__ = ["tiny_run"]
