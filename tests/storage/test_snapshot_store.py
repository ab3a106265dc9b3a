"""The contract of SnapshotStore, kept by the store on disk and by its twin in memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.storage import FileSnapshotStore, MemorySnapshotStore

CONFIGURATION = Configuration(
    (Server("nodeA", "localhost:50051"), Server("nodeB", "localhost:50052", Suffrage.NONVOTER))
)

Store = FileSnapshotStore | MemorySnapshotStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FileSnapshotStore(tmp_path) if request.param == "file" else MemorySnapshotStore()


def take(store: Store, index: int, term: int = 1, data: bytes = b"state") -> SnapshotMeta:
    sink = store.create(index=index, term=term, configuration=CONFIGURATION, configuration_index=1)
    sink.write(data)
    return sink.close()


def test_a_snapshot_comes_back_as_it_was_written(store: Store) -> None:
    sink = store.create(index=10, term=2, configuration=CONFIGURATION, configuration_index=3)
    assert not store.list(), "nothing is to be seen of it yet"
    assert sink.write(b"one ") == 4
    assert sink.write(memoryview(b"two")) == 3
    meta = sink.close()
    assert meta == SnapshotMeta(sink.id, 10, 2, CONFIGURATION, 3, 7)
    assert list(store.list()) == [meta]
    opened, file = store.open(meta.id)
    with file:
        assert (opened, file.read()) == (meta, b"one two")


def test_it_can_be_read_piece_by_piece(store: Store) -> None:
    source = store.stream(take(store, 1, data=b"state").id)
    assert [source.read(2) for _ in range(5)] == [b"st", b"at", b"e", b"", b""]
    source.close()


def test_a_cancelled_snapshot_leaves_nothing_and_cancelling_a_finished_one_does_nothing(store: Store) -> None:
    sink = store.create(index=1, term=1, configuration=CONFIGURATION, configuration_index=1)
    sink.write(b"x")
    sink.cancel()
    sink.cancel()
    assert not store.list()
    finished = store.create(index=2, term=1, configuration=CONFIGURATION, configuration_index=1)
    finished.close()
    finished.cancel()
    assert [meta.index for meta in store.list()] == [2]


def test_the_newest_three_are_kept_newest_first(store: Store) -> None:
    for term, index in ((1, 5), (2, 3), (1, 9), (2, 30), (2, 4)):
        take(store, index, term)
    assert [(meta.term, meta.index) for meta in store.list()] == [(2, 30), (2, 4), (2, 3)]


def test_two_snapshots_of_one_moment_are_two(store: Store) -> None:
    first, second = take(store, 5, data=b"a"), take(store, 5, data=b"b")
    assert first.id != second.id
    assert [meta.id for meta in store.list()] == [second.id, first.id]


def test_what_is_not_there_can_not_be_opened(store: Store) -> None:
    for call in (store.open, store.stream):
        with pytest.raises(StorageError, match="1-1-1"):
            call("1-1-1")


def test_a_deleted_snapshot_is_gone_and_the_others_stay(store: Store) -> None:
    first, second = take(store, 5), take(store, 6)
    store.delete(second.id)
    assert list(store.list()) == [first]
    with pytest.raises(StorageError, match=second.id):
        store.open(second.id)
    with pytest.raises(StorageError, match=f"cannot remove snapshot .*{second.id}"):
        store.delete(second.id)


def test_at_least_two_are_retained(tmp_path: Path) -> None:
    for make in (lambda: FileSnapshotStore(tmp_path, retain=1), lambda: MemorySnapshotStore(1)):
        with pytest.raises(ValueError, match="retain is 1, must be at least 2"):
            make()


def test_leftovers_of_an_interrupted_write_are_removed(tmp_path: Path) -> None:
    sink = FileSnapshotStore(tmp_path).create(index=1, term=1, configuration=CONFIGURATION, configuration_index=1)
    sink.write(b"half")
    store = FileSnapshotStore(tmp_path)
    assert not store.list()
    assert not list((tmp_path / "snapshots").iterdir())


def test_a_full_disk_fails_the_snapshot_and_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import resource, signal
from pathlib import Path
from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import FileSnapshotStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = FileSnapshotStore(Path({str(tmp_path)!r}))
sink = store.create(index=1, term=1, configuration=Configuration(), configuration_index=0)
try:
    for _ in range(100):
        sink.write(bytes(10_000))
    sink.close()
except StorageError as error:
    print(error)
    sink.cancel()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot write snapshot" in result.stdout
    assert "File too large" in result.stdout
    assert not list((tmp_path / "snapshots").iterdir())


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("")
    with pytest.raises(StorageError, match=f"cannot use {tmp_path}/snapshots for snapshots"):
        FileSnapshotStore(tmp_path)
