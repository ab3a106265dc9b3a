"""The log: what it holds in memory, what is durable, what it reads from the store."""

from contextlib import suppress

import pytest
from driver import DictStore, commands

from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.log import RECENT_BYTES, RECENT_ENTRIES, SURPLUS_ENTRIES, Log

PLENTY = 10**9


def indexes(log: Log, low: int, high: int, max_bytes: int = PLENTY) -> list[int]:
    return [entry.index for entry in log.entries(low, high, max_bytes)]


def test_an_empty_log_begins_after_the_snapshot():
    log = Log(DictStore(), 7, 3)
    assert (log.first_index, log.last_index, log.durable_index, log.last_term) == (8, 7, 7, 3)


def test_an_empty_log_without_a_snapshot_ends_at_index_0_of_term_0():
    log = Log(DictStore())
    assert (log.first_index, log.last_index, log.last_term) == (1, 0, 0)


def test_a_log_is_read_from_the_store_and_is_durable():
    log = Log(DictStore(commands(3, 1, 1, 2)))
    assert (log.first_index, log.last_index, log.durable_index, log.last_term) == (3, 5, 5, 2)
    assert indexes(log, 3, 5) == [3, 4, 5]


def test_terms_are_known_of_the_snapshot_and_of_what_is_in_the_log():
    log = Log(DictStore(commands(6, 3, 4)), 5, 3)
    log.append(commands(8, 5), 1)
    assert [log.term(index) for index in range(4, 10)] == [None, 3, 3, 4, 5, None]


def test_appended_entries_are_durable_when_their_write_is():
    log = Log(DictStore())
    log.append(commands(1, 1, 1), 1)
    log.append(commands(3, 1), 2)
    assert (log.last_index, log.durable_index) == (3, 0)
    log.written(1)
    assert log.durable_index == 2
    log.written(2)
    assert log.durable_index == 3


def test_a_later_write_makes_all_earlier_ones_durable():
    log = Log(DictStore())
    log.append(commands(1, 1), 1)
    log.append(commands(2, 1), 2)
    log.written(2)
    assert log.durable_index == 2


def test_a_write_without_entries_makes_nothing_more_durable():
    log = Log(DictStore())
    log.append(commands(1, 1), 2)
    log.written(1)
    assert log.durable_index == 0


def test_what_was_cut_before_it_was_written_never_counts_as_durable():
    log = Log(DictStore(commands(1, 1)))
    log.append(commands(2, 1, 1, 1), 1)
    log.truncate(3)
    log.append(commands(3, 2, 2, 2), 2)
    log.written(1)
    assert log.durable_index == 2, "3 and 4 are other entries by now"
    log.written(2)
    assert log.durable_index == 5


def test_what_was_durable_and_is_cut_is_durable_no_more():
    log = Log(DictStore(commands(1, 1, 1, 1)))
    log.truncate(2)
    log.append(commands(2, 2, 2), 1)
    assert log.durable_index == 1
    assert [log.term(index) for index in (1, 2, 3)] == [1, 2, 2], "though the store has the old ones still"


def test_a_cut_entry_is_not_read_from_the_store():
    log = Log(DictStore(commands(1, 1, 1, 1)))
    log.truncate(2)
    assert log.term(2) is None
    with pytest.raises(StorageError, match=r"entries 2\.\.3 are not in the log, which holds 1\.\.1"):
        log.entries(2, 3, PLENTY)


def test_where_store_and_memory_meet_the_first_part_is_read():
    log = Log(DictStore(commands(1, 1, 1)))
    log.append(commands(3, 1, 1), 1)
    assert indexes(log, 1, 4) == [1, 2]
    assert indexes(log, 2, 2) == [2]
    assert indexes(log, 3, 4) == [3, 4]


@pytest.mark.parametrize("in_memory", [True, False])
def test_as_many_entries_are_read_as_fit_but_at_least_one(in_memory):
    entries = commands(1, 1, 1, 1)
    log = Log(DictStore(() if in_memory else entries))
    if in_memory:
        log.append(entries, 1)
    size = entries[0].size
    assert indexes(log, 1, 3, 2 * size) == [1, 2]
    assert indexes(log, 1, 3, 2 * size - 1) == [1]
    assert indexes(log, 1, 3, 1) == [1]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (1, 9)])
def test_a_range_that_is_not_in_the_log_is_an_error(low, high):
    with pytest.raises(StorageError, match=f"entries {low}..{high} are not in the log"):
        Log(DictStore(commands(1, 1, 1))).entries(low, high, PLENTY)


def test_an_entry_that_the_store_lost_is_an_error_and_not_taken_for_compacted():
    store = DictStore(commands(1, 1, 1))
    log = Log(store)
    del store.log[2]
    with pytest.raises(StorageError, match=r"entry 2 is missing in the log, which holds 1\.\.2"):
        _ = log.last_term
    with pytest.raises(StorageError, match="entry 2 is missing"):
        log.term(2)


@pytest.mark.parametrize(
    ("last_index", "last_term", "up_to_date"), [(3, 2, True), (2, 2, False), (9, 1, False), (1, 3, True), (4, 2, True)]
)
def test_the_later_last_term_then_the_longer_log_is_more_up_to_date(last_index, last_term, up_to_date):
    assert Log(DictStore(commands(1, 1, 1, 2))).is_up_to_date(last_index, last_term) is up_to_date


def test_compaction_forgets_the_beginning():
    log = Log(DictStore(commands(1, 1, 1)))
    log.append(commands(3, 1, 1), 1)
    log.set_snapshot(4, 1)
    log.compact(3)
    assert (log.first_index, log.last_index) == (4, 4)
    assert [log.term(index) for index in (2, 3, 4)] == [None, None, 1]
    with pytest.raises(StorageError):
        log.entries(3, 4, PLENTY)


def test_dropping_begins_a_new_log_and_earlier_writes_count_no_more():
    log = Log(DictStore(commands(1, 1)))
    log.append(commands(2, 1, 1), 1)
    log.drop(9, 3)
    assert (log.first_index, log.last_index, log.durable_index, log.last_term) == (10, 9, 9, 3)
    log.append(commands(10, 4), 2)
    log.written(1)
    assert log.durable_index == 9
    log.written(2)
    assert log.durable_index == 10


def filled(count: int, data: bytes = b"") -> tuple[DictStore, Log]:
    """A store and a log with so many entries, all durable."""
    store = DictStore()
    log = Log(store)
    entries = [entry._replace(data=data) for entry in commands(1, *[1] * count)]
    log.append(entries, 1)
    store.log = {entry.index: entry for entry in entries}
    log.written(1)
    return store, log


def held(store: DictStore, log: Log) -> list[int]:
    """The entries the log has in memory, found by taking the store away."""
    store.log = {}
    found = []
    for index in range(log.first_index, log.last_index + 1):
        with suppress(StorageError):
            log.term(index)
            found.append(index)
    return found


def test_memory_keeps_the_most_recent_entries():
    last = RECENT_ENTRIES + SURPLUS_ENTRIES + 1
    store, log = filled(last)
    dropped = last - RECENT_ENTRIES
    assert indexes(log, 1, dropped + 10) == list(range(1, dropped + 1))
    assert held(store, log) == list(range(dropped + 1, last + 1))


def test_memory_lets_go_of_many_entries_together():
    store, log = filled(RECENT_ENTRIES + SURPLUS_ENTRIES)
    assert held(store, log) == list(range(1, RECENT_ENTRIES + SURPLUS_ENTRIES + 1))


def test_memory_keeps_no_more_than_so_many_bytes():
    store, log = filled(40, bytes(RECENT_BYTES // 32))
    assert 30 <= len(held(store, log)) < 32


def test_what_is_not_durable_stays_in_memory():
    store = DictStore()
    log = Log(store)
    log.append(commands(1, *[1] * 100), 1)
    log.append(commands(101, *[1] * RECENT_ENTRIES * 2), 2)
    log.written(1)
    assert held(store, log) == list(range(101, RECENT_ENTRIES * 2 + 101))


def test_cut_and_compacted_entries_take_no_room_in_memory():
    store, log = filled(30, bytes(RECENT_BYTES // 32))
    log.truncate(11)
    log.compact(5)
    log.append([entry._replace(data=bytes(RECENT_BYTES // 32)) for entry in commands(11, *[2] * 20)], 2)
    log.written(2)
    assert held(store, log) == list(range(6, 31))


@pytest.mark.parametrize(
    "begin_anew", [lambda log: log.truncate(11), lambda log: log.drop(10, 1), lambda log: log.drop(100, 1)]
)
def test_after_a_cut_into_what_only_the_store_has_memory_is_bounded_as_before(begin_anew):
    store = DictStore(commands(1, *[1] * 20))
    log = Log(store)
    begin_anew(log)
    first = log.last_index + 1
    count = RECENT_ENTRIES + SURPLUS_ENTRIES + 1
    log.append(commands(first, *[2] * count), 1)
    log.written(1)
    assert held(store, log) == list(range(first + count - RECENT_ENTRIES, first + count))
