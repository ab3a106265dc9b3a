"""A database file that is damaged in whatever way is refused with an error; one that is sound never is."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from pyraft_lite.core.entry import ENTRY_OVERHEAD, Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore, lmdb_database
from pyraft_lite.storage.lmdb_database import CHECKED_ENTRIES
from pyraft_lite.storage.records import encode_index

NOBODY = 65534


def run(first: int, last: int, size: int = 10) -> list[Entry]:
    return [Entry(index, 1, EntryType.COMMAND, bytes([index % 256]) * size) for index in range(first, last + 1)]


@contextmanager
def database(directory: Path, name: bytes) -> Iterator[lmdb.Transaction]:
    """Writes to the database behind the store's back."""
    with lmdb.open(str(directory), max_dbs=3) as env, env.begin(db=env.open_db(name), write=True) as txn:
        yield txn


def try_all(directory: Path, damage: str) -> None:
    """Runs ``damage``, a generator of whatever was done to ``data``, in another process, since a miss would kill it:
    after each step the store gives all it was given, or raises StorageError that names the directory, whether
    entries are read, cut off or compacted."""
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

def read(store):
    for entry in store.entries(store.first_index(), store.last_index(), 1 << 30):
        assert entry.data == bytes([entry.index % 256]) * len(entry.data), (done, entry.index)

def cut(store):
    for index in (250, 200, 20, 5):
        store.truncate(index)
    read(store)
    store.truncate(1)

def compact(store):
    while store.compact(290, 37):
        pass
    read(store)

refused = whole_seen = 0
for use in (read, cut, compact):
    for done in damages():
        store = None
        try:
            store = LmdbStore(directory)
            assert (store.last_index(), store.get(b"k")) == (300, b"v"), done
            use(store)
            whole_seen += 1
        except StorageError as error:
            assert str(directory) in str(error), (done, error)
            refused += 1
        if store is not None:
            store.close()
print(refused, whole_seen)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"exit {result.returncode} {result.stderr}"
    refused, _ = map(int, result.stdout.split())
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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LOCK", "data.mdb", "journal", "lock.mdb"]


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
    with pytest.raises(StorageError, match=f"{filled}/data.mdb has format None, this program reads b'3'"):
        LmdbStore(filled)


def test_a_database_of_a_later_format_is_refused(filled: Path) -> None:
    with database(filled, b"conf") as txn:
        txn.put(b"pyraft_lite.format", b"4")
    with pytest.raises(StorageError, match=f"{filled}/data.mdb has format b'4', this program reads b'3'"):
        LmdbStore(filled)


def test_a_gap_in_the_log_is_refused(filled: Path) -> None:
    with database(filled, b"logs") as txn:
        txn.delete(encode_index(150))
    with pytest.raises(StorageError, match=f"the log in {filled} is damaged: it has 299 entries from 1 to 300"):
        LmdbStore(filled)


def swap(directory: Path, one: int, other: int) -> None:
    with database(directory, b"logs") as txn:
        first, second = (bytes(txn.get(encode_index(index), b"")) for index in (one, other))
        txn.put(encode_index(one), second)
        txn.put(encode_index(other), first)


def test_two_of_the_last_entries_swapped_are_refused_at_once(filled: Path) -> None:
    swap(filled, 270, 271)
    with pytest.raises(StorageError, match=f"in {filled} is damaged: entry 270: its checksum is wrong"):
        LmdbStore(filled)


def test_two_earlier_entries_swapped_are_refused_when_they_are_read(filled: Path) -> None:
    swap(filled, 5, 6)
    store = LmdbStore(filled)
    with pytest.raises(StorageError, match=f"entry 5 in {filled} is damaged: its checksum is wrong"):
        store.term(5)
    with pytest.raises(StorageError, match=f"entries 1..300 in {filled} is damaged: entry 5: its checksum is wrong"):
        store.entries(1, 300, 1 << 30)
    assert store.entries(7, 7, 1) == run(7, 7, 20_000)
    store.close()


def test_a_commit_that_was_lost_is_refused_and_not_gone_without_a_word(filled: Path) -> None:
    """The meta pages are of the last two commits. If the newer one loses its number, the older looks like it."""
    data = filled / "data.mdb"
    whole = data.read_bytes()
    newest = max((0, 4096), key=lambda page: int.from_bytes(whole[page + 144 : page + 152], sys.byteorder))
    data.write_bytes(whole[: newest + 144] + bytes(8) + whole[newest + 152 :])
    with pytest.raises(StorageError, match=r"data\.mdb is damaged: the meta pages are of transactions"):
        LmdbStore(filled)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many pages and entries are looked at."""
    counter: Counter[str] = Counter()
    pread, decode = os.pread, lmdb_database.decode_entry

    def counted_pread(descriptor: int, size: int, offset: int) -> bytes:
        counter["pages"] += 1
        return pread(descriptor, size, offset)

    def counted_decode(index: int, record: bytes | memoryview) -> Entry:
        counter["entries"] += 1
        return decode(index, record)

    monkeypatch.setattr(os, "pread", counted_pread)
    monkeypatch.setattr(lmdb_database, "decode_entry", counted_decode)
    return counter


def test_a_long_log_is_opened_without_reading_it(tmp_path: Path, counted: Counter[str]) -> None:
    store = LmdbStore(tmp_path)
    for first in range(1, 50_000, 5000):
        store.append(run(first, first + 4999))
    store.close()
    pages = (tmp_path / "data.mdb").stat().st_size // 4096
    counted.clear()
    store = LmdbStore(tmp_path)
    assert (store.first_index(), store.last_index()) == (1, 50_000)
    assert counted["entries"] == CHECKED_ENTRIES
    assert counted["pages"] < pages / 20
    counted.clear()
    assert store.entries(20_000, 50_000, 100 * ENTRY_OVERHEAD) == run(20_000, 20_000 + len(run(1, 86)) - 1)
    assert counted["pages"] <= 3, "of the leaves only those that are read are looked at"
    counted.clear()
    assert store.entries(20_000, 20_010, 1 << 30) == run(20_000, 20_010)
    assert counted["pages"] == 0, "and once is enough"
    store.close()


def test_what_lmdb_shares_the_rest_of_a_leaf_with_is_looked_at_too(tmp_path: Path, counted: Counter[str]) -> None:
    store = LmdbStore(tmp_path)
    store.append(run(1, 1000, 300))
    store.close()
    store = LmdbStore(tmp_path)
    store.truncate(700)
    store.compact(300, 300)
    counted.clear()
    assert store.entries(301, 319, 1 << 30) == run(301, 319, 300)
    assert store.entries(685, 699, 1 << 30) == run(685, 699, 300)
    assert counted["pages"] == 0, "a leaf has 11 entries: those cut, and their neighbours, were seen"
    store.entries(320, 684, 1 << 30)
    assert counted["pages"] > 20, "the others were left alone"
    store.close()


def test_a_log_that_was_dropped_and_begun_anew_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.append(run(1, 1000))
    store.close()
    store = LmdbStore(tmp_path)
    store.truncate(1)
    for first in range(1, 1000, 10):  # into the pages that are free now
        store.append(run(first, first + 9, 500))
    assert store.entries(1, 1000, 1 << 30) == run(1, 1000, 500)
    store.close()


@pytest.mark.parametrize("map_size", [64 * 1024, lmdb_database.MAP_SIZE])
def test_a_database_of_format_1_becomes_one_of_todays(tmp_path: Path, map_size: int) -> None:
    directory = tmp_path / "node"
    store = LmdbStore(directory)
    configurations = [1, 150, *range(300, 2300, 2)]
    entries = run(1, 3000)
    for index in configurations:
        entries[index - 1] = entries[index - 1]._replace(type=EntryType.CONFIGURATION)
    store.append(entries)
    store.close()
    with lmdb.open(str(directory), max_dbs=3) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(b"configurations", txn=txn))
        conf = env.open_db(b"conf", txn=txn)
        txn.put(b"pyraft_lite.format", b"1", db=conf)
        txn.delete(b"pyraft_lite.journal", db=conf)
    (directory / "journal").unlink()
    for _ in range(2):
        store = LmdbStore(directory, map_size=map_size)
        assert store.configurations() == configurations
        assert store.entries(1, 3000, 1 << 30) == entries
        store.close()
    with database(directory, b"conf") as txn:
        assert txn.get(b"pyraft_lite.format") == b"3"


def test_a_database_of_format_2_becomes_one_of_todays(filled: Path) -> None:
    (filled / "journal").unlink()
    with database(filled, b"conf") as txn:
        txn.put(b"pyraft_lite.format", b"2")
        txn.delete(b"pyraft_lite.journal")
    for appended in range(3):
        store = LmdbStore(filled)
        assert (store.last_index(), store.get(b"k")) == (300 + appended, b"v")
        store.append(run(301 + appended, 301 + appended))
        store.close()
    with database(filled, b"conf") as txn:
        assert txn.get(b"pyraft_lite.format") == b"3"


def test_a_damaged_entry_keeps_a_database_of_format_1_as_it_is(filled: Path) -> None:
    swap(filled, 5, 6)
    with database(filled, b"conf") as txn:
        txn.put(b"pyraft_lite.format", b"1")
    with pytest.raises(StorageError, match=f"cannot open the database in {filled}: data.mdb is damaged: its checksum"):
        LmdbStore(filled)
    with database(filled, b"conf") as txn:
        assert txn.get(b"pyraft_lite.format") == b"1"


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
