"""Commands where a standard stream is closed, the disk is full, or there is no home folder: a message, no traceback."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from seq2att import cli
from tests.refusals import refused

pytestmark = pytest.mark.posix
FULL = "/dev/full"  # a device on which every write fails: no space left
needs_full = pytest.mark.skipif(not Path(FULL).exists(), reason=f"no {FULL} here")


def shell(command: str, run: Path, folder: Path, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """A line of bash, in which `seq2att` is this package and `$RUN` a model; None unsets a variable."""
    environment = {**os.environ, "RUN": str(run), **variables}
    return subprocess.run(
        ["bash", "-c", f'seq2att() {{ {shlex.quote(sys.executable)} -m seq2att "$@"; }}; {command}'],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
    )


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("seq2att translate $RUN <&-", 0, ""),  # no line in, no line out
        ("echo a b | seq2att translate $RUN >&-", 2, "error [E-file]: standard output: is closed"),
        ("seq2att list >&-", 2, "error [E-file]: standard output: is closed"),
        ("echo a > in; seq2att translate $RUN in -o out <&- >&-; test -s out", 0, "1 lines in"),
        ("echo a b | seq2att translate $RUN 2>&-", 0, ""),
    ],
)
def test_closed_streams(command: str, code: int, error: str, reverse_run: Path, tmp_path: Path) -> None:
    done = shell(command, reverse_run, tmp_path)
    assert (done.returncode, error in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


@needs_full
@pytest.mark.parametrize(
    ("command", "subject"),
    [
        (f"echo a b | seq2att translate $RUN > {FULL}", "standard output"),
        (f"echo a b | seq2att translate $RUN -o {FULL}", FULL),
        (f"seq2att list > {FULL}", "standard output"),
        (f"seq2att train --cfg job reverse > {FULL}", "standard output"),
    ],
)
def test_a_full_disk(command: str, subject: str, reverse_run: Path, tmp_path: Path) -> None:
    done = shell(command, reverse_run, tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"seq2att: error [E-file]: {subject}: ")
    assert os.strerror(errno.ENOSPC).lower() in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_for_a_file(
    call: str,
    reverse_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    Path("in").write_text("a b\n")
    monkeypatch.setattr(os, call, fail)
    assert cli.main(["translate", str(reverse_run), "in", "-o", "out"]) == 2
    assert capsys.readouterr().err.startswith("seq2att: error [E-file]: out: ")


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user id without an entry, as of a container: the data cache says what to set, the kernels do without."""
    from seq2att.data.cache import cache_folder
    from seq2att.recurrence.native import build

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with refused("E-file", "data.cache"):
        cache_folder(None)
    assert cache_folder(str(tmp_path)) == tmp_path
    with pytest.raises(OSError, match="HOME"):  # then they are compiled for the process alone
        build.cache_folder()


def homeless(path: Path) -> Path:
    """`expanduser` of a user without a home."""
    if str(path).startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return path
