"""A database file that is damaged in whatever way is refused with an error; one that is sound never is."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore
from pyraft_lite.storage.records import encode_index

NOBODY = 65534


def run(first: int, last: int, size: int = 10) -> list[Entry]:
    return [Entry(index, 1, EntryType.COMMAND, bytes([index % 256]) * size) for index in range(first, last + 1)]


@contextmanager
def database(directory: Path, name: bytes) -> Iterator[lmdb.Transaction]:
    """Writes to the database behind the store's back."""
    with lmdb.open(str(directory), max_dbs=2) as env, env.begin(db=env.open_db(name), write=True) as txn:
        yield txn


def try_all(directory: Path, damage: str) -> None:
    """Runs ``damage``, a generator of whatever was done to ``data``, in another process, since a miss would kill it:
    after each step the store opens and gives all it was given, or raises StorageError that names the directory."""
    program = f"""
import os, random, shutil
from pathlib import Path
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore

directory = Path({str(directory)!r})
data = directory / "data.mdb"
whole = data.read_bytes()

def damages():
{damage}

refused = opened = 0
for done in damages():
    try:
        store = LmdbStore(directory)
    except StorageError as error:
        assert str(directory) in str(error), (done, error)
        refused += 1
    else:
        for entry in store.entries(1, store.last_index(), 1 << 30):
            assert entry.data == bytes([entry.index % 256]) * len(entry.data), (done, entry.index)
        assert (store.last_index(), store.get(b"k")) == (300, b"v"), done
        store.close()
        opened += 1
print(refused, opened)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"exit {result.returncode} {result.stderr}"
    refused, _opened = map(int, result.stdout.split())
    assert refused > 0, "nothing was damaged"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A directory with a log of 300 entries, some of them larger than a page."""
    store = LmdbStore(tmp_path)
    for first in range(1, 300, 10):
        with store.transaction():
            store.append(run(first, first + 9, 20_000 if first % 100 == 1 else 300))
            store.set({b"k": b"v"})
    store.truncate(300)
    store.append(run(300, 300, 50_000))  # at the end of the file, so that cuts go through it
    store.close()
    return tmp_path


def test_a_file_cut_off_anywhere_is_refused_or_whole(filled: Path) -> None:
    try_all(
        filled,
        """
    for size in [*range(0, len(whole), 4096), *range(1, len(whole), 37 * 1001), len(whole) - 1]:
        data.write_bytes(whole[:size])
        yield size
""",
    )


def test_a_page_overwritten_with_anything_is_refused_or_was_of_no_use(filled: Path) -> None:
    try_all(
        filled,
        """
    for page in range(0, len(whole) // 4096):
        for garbage in (bytes(4096), b"\\xff" * 4096, random.Random(page).randbytes(4096)):
            data.write_bytes(whole[: page * 4096] + garbage + whole[(page + 1) * 4096 :])
            yield page, garbage[:1]
""",
    )


def test_a_flipped_bit_is_refused_or_was_of_no_use(filled: Path) -> None:
    try_all(
        filled,
        """
    chance = random.Random(1)
    for _ in range(300):
        at = chance.randrange(len(whole))
        data.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        yield at
""",
    )


def test_an_empty_file_is_damage_and_not_a_new_database(tmp_path: Path) -> None:
    LmdbStore(tmp_path).close()
    os.truncate(tmp_path / "data.mdb", 0)
    with pytest.raises(StorageError, match=r"data\.mdb is damaged"):
        LmdbStore(tmp_path)


def test_a_database_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data.mdb.tmp").write_bytes(b"half")
    store = LmdbStore(tmp_path)
    store.append(run(1, 1))
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LOCK", "data.mdb", "lock.mdb"]


def test_a_sound_file_that_ends_before_its_last_page_is_opened(tmp_path: Path) -> None:
    """LMDB does not write pages that one commit takes and frees again, as truncation may."""
    file = tmp_path / "data.mdb"
    chance = random.Random(1)
    store = LmdbStore(tmp_path)
    short = 0
    for _ in range(12):
        with store.transaction():
            first = store.last_index() + 1
            last = first + chance.choice([20, 100])
            store.append(run(first, last, chance.choice([10, 1000, 9000])))
            store.truncate(chance.randint(first, last))
        size = file.stat().st_size
        last_index = store.last_index()
        with lmdb.open(str(shutil.copytree(tmp_path, tmp_path / "copy", dirs_exist_ok=True)), max_dbs=2) as copy:
            short += size < (copy.info()["last_pgno"] + 1) * copy.stat()["psize"]
        store.close()
        store = LmdbStore(tmp_path)
        assert store.last_index() == last_index
    store.close()
    assert short, "the case did not arise: the test has to change"


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with database(tmp_path, b"theirs") as txn:
        txn.put(b"key", b"value")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(StorageError, match=r"data\.mdb is the database of another program"):
        LmdbStore(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_database_without_a_format_is_refused(filled: Path) -> None:
    with database(filled, b"conf") as txn:
        txn.delete(b"pyraft_lite.format")
    with pytest.raises(StorageError, match=f"{filled}/data.mdb has format None, this program reads b'1'"):
        LmdbStore(filled)


def test_a_database_of_a_later_format_is_refused(filled: Path) -> None:
    with database(filled, b"conf") as txn:
        txn.put(b"pyraft_lite.format", b"2")
    with pytest.raises(StorageError, match=f"{filled}/data.mdb has format b'2', this program reads b'1'"):
        LmdbStore(filled)


def test_a_gap_in_the_log_is_refused_with_its_place(filled: Path) -> None:
    with database(filled, b"logs") as txn:
        txn.delete(encode_index(150))
    with pytest.raises(StorageError, match=f"the log in {filled} is damaged: entry 149 is followed by entry 151"):
        LmdbStore(filled)


def test_two_entries_swapped_are_refused(filled: Path) -> None:
    with database(filled, b"logs") as txn:
        fifth, sixth = (bytes(txn.get(encode_index(index), b"")) for index in (5, 6))
        txn.put(encode_index(5), sixth)
        txn.put(encode_index(6), fifth)
    with pytest.raises(StorageError, match="entry 5: its checksum is wrong"):
        LmdbStore(filled)


def test_a_damaged_stable_value_is_refused(filled: Path) -> None:
    with database(filled, b"conf") as txn:
        record = bytearray(txn.get(b"k", b""))
        record[-1] ^= 1
        txn.put(b"k", bytes(record))
    with pytest.raises(StorageError, match=f"a stable value in {filled} is damaged: its checksum is wrong"):
        LmdbStore(filled)


def test_after_a_refusal_the_directory_is_free(filled: Path) -> None:
    data = filled / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="damaged"):
        LmdbStore(filled)
    data.write_bytes(whole)
    store = LmdbStore(filled)
    assert store.last_index() == 300
    store.close()


def test_a_directory_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "node"
    directory.mkdir(mode=0o500)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StorageError, match=f"cannot use {directory} as data directory: Permission denied"):
            LmdbStore(directory)
    finally:
        if root:
            os.seteuid(0)


def test_what_is_stored_is_for_the_owner_only(filled: Path) -> None:
    for name in ("data.mdb", "LOCK", "lock.mdb"):
        assert (filled / name).stat().st_mode & 0o077 == 0, name
