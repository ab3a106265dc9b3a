"""The checker knows good histories from bad ones."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.sim.linearizability import ILLEGAL, UNKNOWN, Model, Operation, check
from pyraft_lite.sim.models import Append, AppendLists, CompareAndSet, Elements, Get, KeyValue, Put

GOOD: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [Operation(Put("k", 1), 0, 1, None), Operation(Get("k"), 2, 3, 1)],
    "a read at the same time may see the old value": [
        Operation(Put("k", 1), 0, 9, None),
        Operation(Get("k"), 1, 2, None),
    ],
    "and another one the new value": [
        Operation(Put("k", 1), 0, 9, None),
        Operation(Get("k"), 1, 2, None),
        Operation(Get("k"), 3, 4, 1),
    ],
    "what has no answer may happen late": [
        Operation(Put("k", 1), 0),
        Operation(Get("k"), 1, 2, None),
        Operation(Get("k"), 3, 4, 1),
    ],
    "what has no answer may never happen": [Operation(Put("k", 1), 0), Operation(Get("k"), 1, 2, None)],
    "keys do not depend on each other": [
        Operation(Put("a", 1), 0, 1, None),
        Operation(Get("b"), 2, 3, None),
        Operation(Get("a"), 2, 3, 1),
    ],
    "a compare-and-set that failed": [
        Operation(Put("k", 1), 0, 1, None),
        Operation(CompareAndSet("k", 2, 3), 2, 3, False),
        Operation(Get("k"), 4, 5, 1),
    ],
    "a compare-and-set between two writes at the same time": [
        Operation(Put("k", 1), 0, 9, None),
        Operation(Put("k", 2), 0, 9, 1),
        Operation(CompareAndSet("k", 2, 3), 0, 9, True),
        Operation(Get("k"), 10, 11, 3),
    ],
    "what happened is known, what came of it is not": [
        Operation(CompareAndSet("k", None, 1), 0, 1, UNKNOWN),
        Operation(Get("k"), 2, 3, 1),
    ],
}
BAD: dict[str, list[Operation]] = {
    "a stale read": [
        Operation(Put("k", 1), 0, 1, None),
        Operation(Put("k", 2), 2, 3, 1),
        Operation(Get("k"), 4, 5, 1),
    ],
    "a lost write": [Operation(Put("k", 1), 0, 1, None), Operation(Get("k"), 2, 3, None)],
    "a value nobody wrote": [Operation(Put("k", 1), 0, 1, None), Operation(Get("k"), 2, 3, 7)],
    "a read that goes back": [
        Operation(Put("k", 1), 0, 9, None),
        Operation(Get("k"), 1, 2, 1),
        Operation(Get("k"), 3, 4, None),
    ],
    "a write seen before it was asked for": [Operation(Get("k"), 0, 1, 1), Operation(Put("k", 1), 2, 3, None)],
    "two writes that replaced the same value": [
        Operation(Put("k", 1), 0, 9, None),
        Operation(Put("k", 2), 0, 9, None),
    ],
    "two compare-and-sets that both won": [
        Operation(CompareAndSet("k", None, 1), 0, 9, True),
        Operation(CompareAndSet("k", None, 2), 0, 9, True),
    ],
    "what has no answer happens only once": [
        Operation(Put("k", 1), 0),
        Operation(Get("k"), 1, 2, 1),
        Operation(Put("k", 2), 3, 4, 1),
        Operation(Get("k"), 5, 6, 1),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_linearizable(name: str) -> None:
    assert check(KeyValue(), GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_not(name: str) -> None:
    assert check(KeyValue(), BAD[name]) is not None


def test_what_is_wrong_is_named() -> None:
    good = Operation(Put("k", 1), 0, 1, None)
    bad = Operation(Get("k"), 2, 3, 7)
    found = check(KeyValue(), [good, bad])
    assert found is not None
    assert (found.key, found.longest, found.stuck) == ("k", (good,), bad)
    assert "on 'k', after 1 operations" in str(found)


@pytest.mark.parametrize(
    ("seen", "length", "possible"), [((1, 2), 2, True), ((2, 1), 2, False), ((1,), 2, False), ((1, 2), 1, False)]
)
def test_a_list_keeps_its_order_and_tells_its_length(seen: tuple[int, ...], length: int, possible: bool) -> None:
    history = [
        Operation(Append("k", 1), 0, 1, 1),
        Operation(Append("k", 2), 2, 3, length),
        Operation(Elements("k"), 4, 5, seen),
    ]
    assert (check(AppendLists(), history) is None) is possible


def test_many_writes_at_once_take_no_exponential_time() -> None:
    writes = [Operation(Put("k", number), 0, 100, UNKNOWN) for number in range(16)]
    assert check(KeyValue(), [*writes, Operation(Get("k"), 101, 102, 99)]) is not None


def explained(model: Model, history: list[Operation]) -> bool:
    """By trying every subset of what has no answer, in every order: slow, and plainly right."""
    certain = [operation for operation in history if operation.returned is not None]
    unsure = [operation for operation in history if operation.returned is None]
    for count in range(len(unsure) + 1):
        for extra in itertools.combinations(unsure, count):
            for order in itertools.permutations([*certain, *extra]):
                if _respects_time(order) and _is_possible(model, order):
                    return True
    return False


def _respects_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.called
        for earlier, later in itertools.combinations(order, 2)
    )


def _is_possible(model: Model, order: tuple[Operation, ...]) -> bool:
    state: Any = model.initial()
    for operation in order:
        state = model.step(state, operation.input, operation.output)
        if state is ILLEGAL:
            return False
    return True


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    value = st.integers(0, 2)
    input = draw(
        st.one_of(
            st.just(Get("k")),
            st.builds(Put, st.just("k"), value),
            st.builds(CompareAndSet, st.just("k"), st.none() | value, value),
        )
    )
    called = draw(st.integers(0, 8))
    is_read = isinstance(input, Get) and draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        return Operation(input, called, is_read=is_read)
    output = {
        Get: st.none() | value,
        Put: st.none() | value,
        CompareAndSet: st.booleans(),
    }[type(input)]
    return Operation(input, called, called + 0.5 + draw(st.integers(0, 6)), draw(output), is_read)


@given(st.lists(operations(), max_size=5))
def test_it_agrees_with_trying_every_order(history: list[Operation]) -> None:
    assert (check(KeyValue(), history) is None) == explained(KeyValue(), history)
