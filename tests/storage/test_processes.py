"""What needs a second process: the directory's lock, a writer that is killed, a disk that is full."""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore

HEAD = """
import resource, select, sys
from pathlib import Path
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore
directory = Path(sys.argv[1])
"""

HOLD = "store = LmdbStore(directory); print('held'); sys.stdin.read()"

# Every write appends, some cut a little off before, and says in a stable value where the log now ends. Every other one
# is not waited for, if the system can do that.
WRITE = """
store = LmdbStore(directory, map_size=64 * 1024)
term = 0
while True:
    term += 1
    with store.transaction():
        last = store.last_index() or 100
        if term % 5 == 0:
            last -= 1
            store.truncate(last + 1)
        store.append([Entry(i, term, EntryType.COMMAND, b"%d" % i * 100) for i in range(last + 1, last + 20)])
        store.set({b"term": b"%d" % term, b"last": b"%d" % (last + 19)})
    if term % 7 == 0:
        store.compact(last - 200, 200)
    print(term)
    last = store.last_index()
    if store.begin([Entry(last + 1, term + 1, EntryType.COMMAND, b"%d" % (last + 1) * 100)],
                   {b"term": b"%d" % (term + 1), b"last": b"%d" % (last + 1)}):
        select.select([store.fileno()], [], [])
        if store.finish():
            term += 1
            print(term)
"""

FILL = """
store = LmdbStore(directory)
def run(first, last): return [Entry(i, 1, EntryType.COMMAND, bytes(1000)) for i in range(first, last + 1)]
store.append(run(1, 10))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    with store.transaction():
        store.set({b"k": b"v"})
        store.append(run(11, 1000))
except StorageError as error:
    print(error)
print(store.last_index(), store.get(b"k"), len(store.entries(1, 10, 1 << 20)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.append(run(11, 1000))
store.close()
print(LmdbStore(directory).last_index())
"""


# How large the file is, and how much of it counts as memory after all was read, and after all was compacted.
MEASURE = """
from pyraft_lite.storage import lmdb_database
lmdb_database.TOUCHED_BYTES = 1024 * 1024
size = int(sys.stdin.readline())
count = 45_000_000 // (size + 64)
store = LmdbStore(directory)
for first in range(1, count + 1, 1000):
    store.append([Entry(i, 1, EntryType.COMMAND, bytes(size)) for i in range(first, min(first + 1000, count + 1))])
store.close()
def mapped():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssFile"))
before = mapped()
store = LmdbStore(directory)
print((directory / "data.mdb").stat().st_size)
index = 1
while index <= count:
    index = store.entries(index, count, 100_000)[-1].index + 1
print(mapped() - before)
store.close()
store = LmdbStore(directory)
while store.compact(count - 1, 512):
    pass
print(mapped() - before)
"""


def start(program: str, directory: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", "-c", HEAD + program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_directory_another_process_holds_is_refused_until_that_is_gone(tmp_path: Path) -> None:
    with start(HOLD, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"^{tmp_path} is in use by process {holder.pid}$"):
            LmdbStore(tmp_path)
        holder.kill()
        holder.wait()
        LmdbStore(tmp_path).close()


def test_a_second_store_in_the_same_process_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        LmdbStore(tmp_path)
    store.append([Entry(1, 1, EntryType.NOOP)])  # and has not disturbed the first
    store.close()
    store = LmdbStore(tmp_path)
    assert store.last_index() == 1
    store.close()


def test_a_writer_killed_at_any_moment_leaves_whole_transactions_and_all_it_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(5)
    for round_ in range(5):
        directory = tmp_path / str(round_)
        with start(WRITE, directory) as writer:
            assert writer.stdout is not None
            acknowledged = 0
            for _ in range(chance.randint(1, 80)):
                acknowledged = int(writer.stdout.readline())
            threading.Timer(chance.random() / 100, writer.kill).start()
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        store = LmdbStore(directory)
        term, last = int(store.get(b"term") or 0), int(store.get(b"last") or 0)
        assert acknowledged <= term <= acknowledged + 1
        assert store.last_index() == last
        assert store.term(last) == term
        entries = store.entries(store.first_index(), last, 1 << 30)
        assert all(entry.data == b"%d" % entry.index * 100 for entry in entries)
        store.close()


def test_a_write_the_disk_has_no_room_for_is_undone_whole_and_said(tmp_path: Path) -> None:
    with start(FILL, tmp_path) as process:
        output, _ = process.communicate()
    error, *after = output.splitlines()
    assert error.startswith(f"cannot write to the database in {tmp_path}: ")
    assert "File too large" in error or "the disk is full" in error
    assert after == ["10 None 10", "1000"]


@pytest.mark.parametrize("size", [100, 50_000])
def test_what_was_read_or_compacted_does_not_stay_in_memory(tmp_path: Path, size: int) -> None:
    """Every page of the map that was looked at counts as the process's memory, though it is the kernel's cache."""
    with start(MEASURE, tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(f"{size}\n")
        output, _ = process.communicate()
    whole, read, compacted = map(int, output.split())
    assert whole > 40_000_000
    assert read < 15_000_000
    assert compacted < 15_000_000


def test_the_map_grows_beside_readers(tmp_path: Path) -> None:
    def run(first: int, last: int) -> list[Entry]:
        return [Entry(index, 1, EntryType.COMMAND, bytes([index % 256]) * 1000) for index in range(first, last + 1)]

    store = LmdbStore(tmp_path, map_size=64 * 1024)
    store.append(run(1, 10))
    stop = threading.Event()
    read: list[int] = []
    failures: list[object] = []

    def keep_reading() -> None:
        while not stop.is_set():
            try:
                last = store.last_index()
                if store.entries(1, last, 1 << 30) != run(1, last):
                    failures.append(last)
                read.append(last)
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(11, 1000, 30):
        store.append(run(first, first + 29))
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert read
    assert store.last_index() == 1000
    store.close()
