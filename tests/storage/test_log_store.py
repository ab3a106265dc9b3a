"""The contract of LogStore and StableStore, kept by the store on disk and by its twin in memory."""

import select
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pyraft_lite.core.entry import ENTRY_OVERHEAD, ZERO_TIME, Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import LmdbStore, MemoryStore

Store = LmdbStore | MemoryStore


@pytest.fixture(params=["lmdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store = LmdbStore(tmp_path) if request.param == "lmdb" else MemoryStore()
    yield store
    store.close()


def run(first: int, last: int, term: int = 1) -> list[Entry]:
    """Entries ``first..last``."""
    return [Entry(index, term, EntryType.COMMAND, b"%d" % index) for index in range(first, last + 1)]


def bounds(store: Store) -> tuple[int, int]:
    return store.first_index(), store.last_index()


def everything(store: Store) -> list[Entry]:
    return list(store.entries(store.first_index(), store.last_index(), 1 << 30)) if store.last_index() else []


def test_an_empty_log_has_no_indexes_and_no_entries(store: Store) -> None:
    assert bounds(store) == (0, 0)
    assert store.term(1) is None
    with pytest.raises(StorageError, match="entry 1 is missing"):
        store.entries(1, 1, 100)


def test_entries_come_back_as_they_were(store: Store) -> None:
    entries = [
        Entry(7, 1, EntryType.CONFIGURATION, b"configuration", appended_at=ZERO_TIME),
        Entry(8, 2, EntryType.NOOP, appended_at=1_795_426_370_438_354_913),
        Entry(9, 2, EntryType.COMMAND, b"data", b"extensions"),
        Entry(10, 2**63, EntryType.BARRIER, b"", b"only extensions", -1),
        Entry(11, 2**63, EntryType.COMMAND, bytes(range(256)) * 10),
    ]
    store.append(entries)
    assert everything(store) == entries
    assert bounds(store) == (7, 11)
    assert [store.term(index) for index in range(6, 13)] == [None, 1, 2, 2, 2**63, 2**63, None]


def test_as_many_entries_are_read_as_fit_but_at_least_one(store: Store) -> None:
    store.append(run(1, 9))
    size = ENTRY_OVERHEAD + 1
    assert [entry.index for entry in store.entries(3, 9, 3 * size)] == [3, 4, 5]
    assert [entry.index for entry in store.entries(3, 9, 3 * size - 1)] == [3, 4]
    assert [entry.index for entry in store.entries(3, 9, 0)] == [3]


@pytest.mark.parametrize("index", [1, 5, 7, 100])
def test_a_gap_or_an_overlap_is_refused_and_nothing_of_it_kept(store: Store, index: int) -> None:
    store.append(run(1, 5))
    with pytest.raises(ValueError, match=f"entry {index} does not continue the log: 6 should be next"):
        store.append(run(index, index + 3))
    assert bounds(store) == (1, 5)


def test_a_gap_inside_what_is_appended_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="entry 3 does not continue the log: 2 should be next"):
        store.append([*run(1, 1), *run(3, 3)])
    assert bounds(store) == (0, 0)


@pytest.mark.parametrize(
    ("from_index", "left"), [(1, (0, 0)), (3, (0, 0)), (4, (3, 3)), (9, (3, 8)), (10, (3, 9)), (99, (3, 9))]
)
def test_truncation_cuts_the_end(store: Store, from_index: int, left: tuple[int, int]) -> None:
    store.append(run(3, 9))
    store.truncate(from_index)
    assert bounds(store) == left
    if left[1]:
        store.append(run(left[1] + 1, left[1] + 1, term=2))
        assert store.term(left[1] + 1) == 2


def test_after_everything_was_cut_the_log_may_begin_anywhere(store: Store) -> None:
    store.append(run(3, 9))
    store.truncate(3)
    store.append(run(500, 501))
    assert bounds(store) == (500, 501)


def test_compaction_goes_in_steps_from_the_front(store: Store) -> None:
    store.append(run(1, 10))
    assert store.compact(7, 3)
    assert bounds(store) == (4, 10)
    assert store.compact(7, 3)
    assert not store.compact(7, 3)
    assert bounds(store) == (8, 10)
    assert not store.compact(7, 3)
    assert not store.compact(99, 99)
    assert bounds(store) == (0, 0)


def test_the_configurations_of_the_log_are_known(store: Store) -> None:
    assert list(store.configurations()) == []
    entries = run(3, 20)
    for index in (3, 8, 9, 15, 20):
        entries[index - 3] = entries[index - 3]._replace(type=EntryType.CONFIGURATION)
    store.append(entries[:10])
    store.append(entries[10:])
    assert list(store.configurations()) == [3, 8, 9, 15, 20]
    store.truncate(15)
    store.append(run(15, 16, term=2))
    assert list(store.configurations()) == [3, 8, 9]
    while store.compact(8, 2):
        pass
    assert list(store.configurations()) == [9]
    store.truncate(1)
    assert list(store.configurations()) == []


def test_a_configuration_is_known_when_its_transaction_is_committed(store: Store) -> None:
    with suppress(RuntimeError), store.transaction():
        store.append([Entry(1, 1, EntryType.CONFIGURATION)])
        raise RuntimeError
    assert list(store.configurations()) == []
    with store.transaction():
        store.append([Entry(1, 1, EntryType.CONFIGURATION), *run(2, 3)])
        assert list(store.configurations()) == []
        store.truncate(3)
        store.append([Entry(3, 2, EntryType.CONFIGURATION)])
    assert list(store.configurations()) == [1, 3]


def test_a_transaction_joins_log_and_stable_values(store: Store) -> None:
    store.append(run(1, 5))
    with store.transaction():
        store.set({b"term": b"2"})
        store.truncate(3)
        store.append(run(3, 4, term=2))
    assert store.get(b"term") == b"2"
    assert [entry.term for entry in everything(store)] == [1, 1, 2, 2]


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    store.append(run(1, 5))
    store.set({b"term": b"1"})

    def half_way() -> None:
        with store.transaction():
            store.set({b"term": b"2"})
            store.truncate(2)
            store.append(run(2, 9, term=2))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        half_way()
    assert store.get(b"term") == b"1"
    assert everything(store) == run(1, 5)
    store.append(run(6, 6))


def test_stable_values_are_set_together_and_replaced(store: Store) -> None:
    assert store.get(b"a") is None
    store.set({b"a": b"1", b"b": b""})
    store.set({b"a": b"2"})
    assert (store.get(b"a"), store.get(b"b")) == (b"2", b"")


class LogStoreAgainstModel(RuleBasedStateMachine):
    """Any sequence of operations leaves what a plain dict would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[int, Entry] = {}
        self.values: dict[bytes, bytes] = {}
        self.open()

    def open(self) -> None:
        self.store: Store = MemoryStore()

    @rule(
        count=st.integers(1, 20),
        size=st.integers(0, 2000) | st.just(20_000),
        begin=st.integers(1, 1000),
        type=st.sampled_from([EntryType.COMMAND, EntryType.CONFIGURATION]),
    )
    def append(self, count: int, size: int, begin: int, type: EntryType) -> None:
        first = max(self.model) + 1 if self.model else begin
        entries = [Entry(index, count, type, bytes(size)) for index in range(first, first + count)]
        self.store.append(entries)
        self.model.update((entry.index, entry) for entry in entries)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(min(self.model) - 1, max(self.model) + 2))
        self.store.truncate(index)
        self.model = {at: entry for at, entry in self.model.items() if at < index}

    @precondition(lambda self: self.model)
    @rule(data=st.data(), limit=st.integers(1, 30))
    def compact(self, data: st.DataObject, limit: int) -> None:
        index = data.draw(st.integers(min(self.model) - 1, max(self.model) + 1))
        old = sorted(at for at in self.model if at <= index)
        assert self.store.compact(index, limit) == (len(old) > limit)
        for at in old[:limit]:
            del self.model[at]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), value=st.binary(max_size=8))
    def truncate_and_set(self, data: st.DataObject, value: bytes) -> None:
        with self.store.transaction():
            self.truncate(data)
            self.store.set({b"key": value})
        self.values[b"key"] = value

    @rule(values=st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(max_size=8), max_size=3))
    def set(self, values: dict[bytes, bytes]) -> None:
        self.store.set(values)
        self.values.update(values)

    @invariant()
    def holds_the_same(self) -> None:
        assert bounds(self.store) == (min(self.model, default=0), max(self.model, default=0))
        assert everything(self.store) == [self.model[index] for index in sorted(self.model)]
        assert list(self.store.configurations()) == sorted(
            index for index, entry in self.model.items() if entry.type is EntryType.CONFIGURATION
        )
        assert all(self.store.get(key) == value for key, value in self.values.items())


class LmdbAgainstModel(LogStoreAgainstModel):
    """The same, with a map so small that it has to grow, and opened anew now and then."""

    def open(self) -> None:
        self.directory = TemporaryDirectory()
        self.store: LmdbStore = LmdbStore(Path(self.directory.name), map_size=64 * 1024)

    @rule(count=st.integers(0, 5), values=st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(max_size=8)))
    def append_and_set_without_waiting(self, count: int, values: dict[bytes, bytes]) -> None:
        first = max(self.model, default=0) + 1
        entries = [Entry(index, 3, EntryType.COMMAND, b"begun") for index in range(first, first + count)]
        descriptor = self.store.fileno()
        if descriptor is not None and self.store.begin(entries, values):
            self.holds_the_same()
            select.select([descriptor], [], [])
            if not self.store.finish():
                return
            self.model.update((entry.index, entry) for entry in entries)
            self.values.update(values)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = LmdbStore(Path(self.directory.name), map_size=64 * 1024)

    @rule()
    def crash(self) -> None:
        """What is in the files now is all that is left."""
        found = TemporaryDirectory()
        shutil.copytree(self.directory.name, found.name, dirs_exist_ok=True)
        self.teardown()
        self.directory = found
        self.store = LmdbStore(Path(found.name), map_size=64 * 1024)

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()


TestMemoryAgainstModel = LogStoreAgainstModel.TestCase
TestLmdbAgainstModel = LmdbAgainstModel.TestCase
TestMemoryAgainstModel.settings = settings(max_examples=50, deadline=None)
TestLmdbAgainstModel.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
