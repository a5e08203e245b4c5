"""The package where the system is not Linux: `tests/windows` takes from it what Windows lacks.

The rule: no module of seq2att needs what the standard library offers on Unix alone; text has an encoding; files are
replaced, not renamed onto, and closed before they are moved; names of files are valid everywhere.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WINDOWS = Path(__file__).parent / "windows"
FORBIDDEN = set('<>:"\\|?*') | set(map(chr, range(32)))  # in names of files
CORPUS = "".join(
    f"{word}\t{word[::-1]}\n" for word in "가나다 나다라 abc déf ñandú 학교 감사 합니다 żółć one two six".split()
)
RECIPE = """
reader: {name: tsv, train: words.tsv, validation: words.tsv}
source: {name: text, tokenizer: {name: char}}
target: {name: text, tokenizer: {name: char}}
encoder: {name: gru, size: 8}
decoder: {name: gru, size: 8}
callbacks: [show, parameters, gradient_norms]
data: {batch_size: 4}
trainer: {epochs: 2, log_every: 1}
"""
TRAIN = ["train", "words.yaml", "run=out", "data.cache=cache"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a corpus of many scripts and a recipe."""
    (tmp_path / "words.tsv").write_text(CORPUS, "utf-8")
    (tmp_path / "words.yaml").write_text(RECIPE, "utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers").write_bytes(b"123")
    return tmp_path


def on_windows(root: Path, here: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    """Run Python with what Windows has; its standard streams are in a code page."""
    paths = os.pathsep.join([str(WINDOWS), str(root)])
    variables = {"PYTHONPATH": paths, "PYTHONWARNDEFAULTENCODING": "1", "PYTHONIOENCODING": "cp1252"}
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin.encode(),
        capture_output=True,
        check=False,
        cwd=here,
        env={**os.environ, **variables},
        timeout=600,
    )


IMPORT_ALL = """
import importlib, pkgutil, seq2att
names = [module.name for module in pkgutil.walk_packages(seq2att.__path__, "seq2att.") if "__main__" not in module.name]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_every_module_imports_without_unix(root: Path, here: Path) -> None:
    done = on_windows(root, here, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 100


def test_training_without_unix(root: Path, here: Path) -> None:
    """Twice, so that the first run is deleted and the cache is read."""
    for _ in range(2):
        done = on_windows(root, here, "-m", "seq2att", *TRAIN, "overwrite=true")
        assert done.returncode == 0, done.stderr.decode()
        assert "가나다" in done.stdout.decode(), "the examples are UTF-8, whatever the code page"
        assert not (here / "out" / "train.lock").exists(), "or the next run waits for its owner"


def test_several_processes_without_unix(root: Path, here: Path) -> None:
    done = on_windows(root, here, "-m", "seq2att", *TRAIN, "trainer.devices=2")
    assert done.returncode == 0, done.stderr.decode()
    assert "가나다" in done.stdout.decode()
    command = ["-m", "seq2att", "translate", "out", "--devices", "2", "-o", "answers"]
    done = on_windows(root, here, *command, stdin="감사\r\nabc\r\n")
    assert done.returncode == 0, done.stderr.decode()
    assert (here / "answers").read_bytes().count(b"\n") == 2
    names = [part for path in here.rglob("*") for part in path.relative_to(here).parts]
    assert [name for name in names if FORBIDDEN & set(name) or name.endswith((".", " "))] == []


MUTANTS = {
    "import fcntl": "No module named 'fcntl'",
    "from resource import getrusage": "No module named 'resource'",
    "import signal; signal.SIGHUP": "no attribute 'SIGHUP'",
    "from os import fork": "cannot import name 'fork'",
    "import os; os.sched_getaffinity(0)": "no attribute 'sched_getaffinity'",
    "open('words.tsv').read()": "EncodingWarning",
    "from pathlib import Path; Path('words.tsv').rename('words.yaml')": "FileExistsError",
    "from pathlib import Path; file = open('words.tsv', 'rb'); Path('words.tsv').unlink()": "PermissionError",
    "import os; file = open('words.tsv', 'rb'); os.replace('words.yaml', 'words.tsv')": "PermissionError",
    "import os, numpy; x = numpy.memmap('words.tsv'); os.replace('words.tsv', 'other.tsv')": "PermissionError",
    "import shutil; file = open('data/numbers', 'rb'); shutil.rmtree('data')": "PermissionError",
}
RUN = "exec(compile({code!r}, {file!r}, 'exec'), {{'__file__': {file!r}, '__name__': {name!r}}})"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and what Windows lacks")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_windows_lacks_is_lacking(root: Path, here: Path, mutant: str) -> None:
    """Each of these fails in a module of seq2att, and only there."""
    code = RUN.format(code=mutant, file=str(root / "seq2att" / "mutant.py"), name="seq2att.mutant")
    assert MUTANTS[mutant] in on_windows(root, here, "-c", code).stderr.decode()
    code = RUN.format(code=mutant, file=str(here / "mutant.py"), name="mutant")
    assert on_windows(root, here, "-c", code).stderr == b""


def test_every_system_runs_the_commands_of_the_makefile(root: Path) -> None:
    """CI calls what `make check` and `make test` call, on the three systems."""
    workflow = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["test"]
    targets = re.findall(r"^(?:test|check):.*\n((?:\t.*\n)+)", (root / "Makefile").read_text("utf-8"), re.MULTILINE)
    commands = set(re.findall(r"\$\(BIN\)/(.*)$", "".join(targets), re.MULTILINE))
    assert len(targets) == 2
    assert len(commands) >= 5
    assert commands <= {step.get("run") for step in job["steps"]}
    assert {name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert job["env"]["OMP_NUM_THREADS"] == "1"
