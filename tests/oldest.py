"""The oldest versions of the dependencies that `pyproject.toml` allows, as constraints for pip: see `make oldest`.

Arguments such as `torch==2.13.0` replace a version that cannot be had.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def oldest_versions() -> dict[str, str]:
    """The lowest version of each dependency, by name."""
    names = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["dependencies"]
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,.*)?", name) for name in names]
    assert all(found), f"each dependency names its lowest version: {names}"
    return {match[1]: match[2] for match in found if match}


if __name__ == "__main__":
    versions = oldest_versions() | dict(argument.split("==") for argument in sys.argv[1:])
    print("\n".join(f"{name}=={version}" for name, version in versions.items()))
