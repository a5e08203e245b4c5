"""A selection of `make faults`: runs that are killed at a write, or whose write fails, end as the undisturbed ones."""

import os
import subprocess
import sys
from pathlib import Path


def test_runs_survive_faults_at_their_writes() -> None:
    command = [sys.executable, "-m", "tests.faults", "--short", "450"]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "skipped" in ended.stdout or ended.stdout.splitlines()[-1].startswith("all "), ended.stdout
