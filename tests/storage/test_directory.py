"""The directory a store is given: made if missing, for its owner alone, and refused if it can't be one."""

import os
import stat
from pathlib import Path

import pytest

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import FileSnapshotStore, LmdbStore


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "nodeA"
    LmdbStore(directory).close()
    FileSnapshotStore(directory)
    assert [mode(path) for path in (directory.parent, directory, directory / "snapshots")] == [0o700] * 3
    assert {path.name: mode(path) for path in directory.iterdir() if path.is_file()} == {
        "LOCK": 0o600,
        "data.mdb": 0o600,
        "journal": 0o600,
        "lock.mdb": 0o600,
    }


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    LmdbStore(tmp_path).close()
    assert mode(tmp_path) == 0o750


@pytest.mark.parametrize("below", ["", "nodeA", "data/nodeA"])
def test_a_file_in_the_place_of_the_directory_or_one_above_is_refused(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    directory = file / below
    with pytest.raises(StorageError, match=f"^cannot use {directory} as data directory: Not a directory$"):
        LmdbStore(directory)
    assert file.read_text() == "precious"


def test_a_directory_that_another_process_makes_at_the_same_time_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir = Path.is_dir

    def made_meanwhile(path: Path) -> bool:
        before = is_dir(path)
        if path == tmp_path / "data" and not before:
            path.mkdir()
        return before

    monkeypatch.setattr(Path, "is_dir", made_meanwhile)
    LmdbStore(tmp_path / "data" / "nodeA").close()


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk)
    LmdbStore(link).close()
    assert (disk / "data.mdb").exists()


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match=f"^cannot use {link} as data directory: File exists$"):
        LmdbStore(link)


def test_a_directory_in_the_place_of_the_database_is_refused_and_the_lock_let_go(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").mkdir()
    with pytest.raises(StorageError, match=f"cannot open the database in {tmp_path}: "):
        LmdbStore(tmp_path)
    (tmp_path / "data.mdb").rmdir()
    LmdbStore(tmp_path).close()


def test_the_lock_file_names_this_process_and_no_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("1234567890123\n")
    store = LmdbStore(tmp_path)
    assert (tmp_path / "LOCK").read_text() == f"{os.getpid()}\n"
    store.close()
