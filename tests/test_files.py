"""What is written appears whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from seq2att import files
from tests.refusals import refused


def test_a_file_has_its_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "한글.txt"
    files.write_file(file, "old 가")
    with files.open_atomic(file) as stream:
        stream.write(b"new")
        assert file.read_text("utf-8") == "old 가"
    assert file.read_bytes() == b"new"
    assert os.listdir(file.parent) == [file.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "a.txt"
    files.write_file(file, "old")

    def write() -> None:
        with files.open_atomic(file) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert (os.listdir(tmp_path), file.read_text("utf-8")) == (["a.txt"], "old")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    file = tmp_path / "a.txt"
    files.write_file(file, "old")
    monkeypatch.setattr(os, call, refuse)
    with refused("E-file", str(file)):
        files.write_file(file, "new")
    assert (os.listdir(tmp_path), file.read_text("utf-8")) == (["a.txt"], "old")


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with files.open_atomic(tmp_path / "a.txt"):
        (leftover,) = tmp_path.iterdir()
        assert leftover.name.endswith(files.PARTIAL)
        files.write_file(tmp_path / "kept", "")
    leftover.touch()
    files.remove_partial(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "kept"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights, links and devices")
def test_rights_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    file, link = tmp_path / "a.txt", tmp_path / "link"
    files.write_file(file, "old")
    file.chmod(0o600)
    link.symlink_to(file)
    files.write_file(link, "new")
    assert link.is_symlink()
    assert file.read_text("utf-8") == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    files.write_file(Path(os.devnull), "gone")
    assert not Path(os.devnull).is_file()
