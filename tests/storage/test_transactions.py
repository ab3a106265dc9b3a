"""Transactions of the log and stable stores: one commit for all, nothing in between, and nesting."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore, MemoryStore

Store = LmdbStore | MemoryStore


@pytest.fixture(params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = LmdbStore(tmp_path) if request.param == "lmdb" else MemoryStore()
    yield store
    store.close()


def run(first: int, last: int, term: int = 1, size: int = 10) -> list[Entry]:
    return [Entry(index, term, EntryType.COMMAND, bytes(size)) for index in range(first, last + 1)]


def commits(directory: Path) -> int:
    """How many transactions LMDB has committed in a closed store's directory."""
    with lmdb.open(str(directory), max_dbs=2) as env:
        return int(env.info()["last_txnid"])


def test_all_writes_of_a_transaction_are_one_commit(tmp_path: Path) -> None:
    LmdbStore(tmp_path).close()
    before = commits(tmp_path)
    store = LmdbStore(tmp_path)
    with store.transaction():
        for index in range(1, 20):
            store.append(run(index, index))
            store.set({b"term": b"%d" % index})
        store.truncate(15)
        store.compact(5, 100)
    store.close()
    assert commits(tmp_path) == before + 1


@pytest.mark.parametrize("log", [[], run(3, 5)])
def test_a_transaction_that_changes_nothing_commits_nothing(tmp_path: Path, log: list[Entry]) -> None:
    store = LmdbStore(tmp_path)
    store.append(log)
    store.close()
    before = commits(tmp_path)
    store = LmdbStore(tmp_path)
    with store.transaction():
        store.append([])
        store.truncate(6)
        store.compact(2, 10)
    store.close()
    assert commits(tmp_path) == before


def test_readers_see_nothing_of_a_transaction_until_it_is_committed(store: Store) -> None:
    store.append(run(1, 5))
    with store.transaction():
        store.truncate(3)
        store.append(run(3, 9, term=2))
        store.compact(1, 10)
        store.set({b"k": b"v"})
        assert (store.first_index(), store.last_index()) == (1, 5)
        assert store.entries(1, 5, 1 << 20) == run(1, 5)
        assert store.get(b"k") is None
    assert (store.first_index(), store.last_index()) == (2, 9)
    assert [store.term(index) for index in (1, 2, 3, 9, 10)] == [None, 1, 2, 2, None]
    assert store.get(b"k") == b"v"


def test_the_writer_is_checked_against_what_it_has_written_inside_the_transaction(store: Store) -> None:
    with store.transaction():
        store.append(run(1, 5))
        with pytest.raises(ValueError, match="6 should be next"):
            store.append(run(5, 6))
        store.truncate(3)
        store.append(run(3, 4, term=2))
        assert not store.compact(4, 10)
        store.append(run(100, 101))
    assert (store.first_index(), store.last_index()) == (100, 101)


def test_an_inner_transaction_that_fails_is_undone_alone(store: Store) -> None:
    with store.transaction():
        store.append(run(1, 3))
        with suppress(RuntimeError), store.transaction():
            store.append(run(4, 9))
            store.set({b"k": b"inner"})
            raise RuntimeError
        store.append(run(4, 4, term=2))
    assert store.entries(1, 4, 1 << 20) == [*run(1, 3), *run(4, 4, term=2)]
    assert store.last_index() == 4
    assert store.get(b"k") is None


def test_an_outer_transaction_that_fails_takes_the_inner_with_it(store: Store) -> None:
    def fail() -> None:
        with store.transaction():
            with store.transaction():
                store.append(run(1, 3))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.last_index() == 0
    store.append(run(1, 1))


def test_the_map_grows_by_as_much_as_one_transaction_needs(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, map_size=64 * 1024)
    with store.transaction():
        store.set({b"k": b"v"})
        store.append(run(1, 50, size=100_000))
        store.truncate(50)
    store.close()
    store = LmdbStore(tmp_path, map_size=64 * 1024)
    assert store.entries(1, 49, 1 << 30) == run(1, 49, size=100_000)
    assert store.get(b"k") == b"v"
    store.close()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "truncate", "compact"]), st.integers(1, 40), st.integers(1, 9)),
        min_size=1,
        max_size=15,
    ),
    st.sampled_from([1, 500, 5000]),
)
def test_disk_and_memory_agree_after_every_step_and_reopening(steps: list[tuple[str, int, int]], size: int) -> None:
    memory = MemoryStore()
    with TemporaryDirectory() as directory:
        for what, index, count in steps:
            disk = LmdbStore(Path(directory), map_size=64 * 1024)
            first = memory.last_index() + 1 if memory.last_index() else index
            match what:
                case "append":
                    for store in (disk, memory):
                        store.append(run(first, first + count - 1, term=index, size=size))
                case "truncate":
                    for store in (disk, memory):
                        store.truncate(index)
                case "compact":
                    assert disk.compact(index, count) == memory.compact(index, count)
            disk.close()
            disk = LmdbStore(Path(directory), map_size=64 * 1024)
            first, last = memory.first_index(), memory.last_index()
            assert (disk.first_index(), disk.last_index()) == (first, last)
            if last:
                assert disk.entries(first, last, 1 << 30) == memory.entries(first, last, 1 << 30)
                assert [disk.term(index) for index in range(first - 1, last + 2)] == [
                    memory.term(index) for index in range(first - 1, last + 2)
                ]
            disk.close()


def test_what_is_asked_for_and_missing_is_named(store: Store) -> None:
    store.append(run(3, 5))
    for low, high, missing in ((2, 4, 2), (4, 7, 6), (8, 9, 8)):
        with pytest.raises(StorageError, match=f"entry {missing} is missing in the log, which holds 3..5"):
            store.entries(low, high, 1 << 20)
    with pytest.raises(StorageError, match=r"no entries 4\.\.3"):
        store.entries(4, 3, 1 << 20)


def test_a_closed_store_reads_nothing_and_says_so(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.append(run(1, 2))
    store.truncate(2)
    store.close()
    with pytest.raises(StorageError, match=f"cannot read entries 1..1 in {tmp_path}"):
        store.entries(1, 1, 100)
