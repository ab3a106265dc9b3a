"""Is a history linearizable: could all operations have happened one at a time, each between its call and its return?

Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's memoisation, "Testing for Linearizability"
(2017): a set of operations that led to a state once before is not tried again. Operations on different keys are checked
apart, which is allowed since linearizability is a local property (Herlihy and Wing, 1990).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

UNKNOWN: Final = object()
"""The output of an operation nobody has seen the end of: it may have happened, or happen later, or never."""

ILLEGAL: Final = object()
"""What a model's step gives if no such operation with such an output is possible in that state."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as its client saw it.

    Attributes:
        input: What was asked for, in the model's words.
        called, returned: When, in any unit that grows; ``returned`` is None if there was no answer.
        output: What came back; UNKNOWN if it is not known, though the operation is.
        is_read: Promises that it changes no state whatever; makes the check much faster.
    """

    input: Any
    called: float
    returned: float | None = None
    output: Any = UNKNOWN
    is_read: bool = False


class Model(Protocol):
    """What an object does if it is used by one client alone."""

    def key(self, input: Any, /) -> Hashable:
        """Which part of the object an operation is about; parts must not depend on each other."""
        ...

    def initial(self) -> Hashable:
        """The state of a part that nobody has changed."""
        ...

    def step(self, state: Any, input: Any, output: Any, /) -> Hashable:
        """The state after the operation, or ILLEGAL if it can't have this output. Every operation must be possible in
        every state if its output is UNKNOWN."""
        ...


@dataclass(frozen=True, slots=True)
class NotLinearizable:
    """Shows that a history is not linearizable.

    Attributes:
        key: The part of the object it is about.
        longest: As many operations as could be put in an order.
        stuck: The first operation to return for which there is no place after those.
    """

    key: Hashable
    longest: tuple[Operation, ...]
    stuck: Operation

    def __str__(self) -> str:
        before = self.longest[-1] if self.longest else "nothing"
        return f"on {self.key!r}, after {len(self.longest)} operations of which {before} is the last: {self.stuck}"


def check(model: Model, history: Iterable[Operation]) -> NotLinearizable | None:
    """Looks for an order of the operations that explains all that clients saw; None if there is one.

    Args:
        model: What the object should do.
        history: The operations, in any order.
    """
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history:
        parts.setdefault(model.key(operation.input), []).append(operation)
    for key, operations in parts.items():
        found = _check_part(model, key, operations)
        if found is not None:
            return found
    return None


class _Event:
    """A call or a return, in a doubly linked list from which operations are lifted as they are given their place."""

    __slots__ = ("after", "before", "number", "partner")

    def __init__(self, number: int) -> None:
        self.number = number
        self.partner: _Event | None = None  # a call's return; None for a return
        self.before: _Event = self
        self.after: _Event | None = None

    def lift(self) -> None:
        assert self.partner is not None, "only calls are lifted"
        for event in (self, self.partner):
            event.before.after = event.after
            if event.after is not None:
                event.after.before = event.before

    def put_back(self) -> None:
        assert self.partner is not None, "only calls are put back"
        for event in (self.partner, self):
            event.before.after = event
            if event.after is not None:
                event.after.before = event


def _events(operations: Sequence[Operation]) -> _Event:
    """A list head, followed by all calls and returns in order of time; of the same time, calls come first, and the
    returns nobody saw come last."""
    placed: list[tuple[float, int, int, _Event]] = []
    for number, operation in enumerate(operations):
        called, returned = _Event(number), _Event(number)
        called.partner = returned
        end = float("inf") if operation.returned is None else operation.returned
        placed += [(operation.called, 0, number, called), (end, 1, number, returned)]
    head = last = _Event(-1)
    for *_, event in sorted(placed, key=lambda item: item[:3]):
        last.after, event.before = event, last
        last = event
    return head


def _check_part(model: Model, key: Hashable, operations: Sequence[Operation]) -> NotLinearizable | None:
    head = _events(operations)
    state: Hashable = model.initial()
    done = 0  # a bit for each operation that has its place
    tried: set[tuple[int, Hashable]] = set()
    placed: list[tuple[_Event, Hashable, Iterator[tuple[_Event, Hashable]]]] = []
    longest: tuple[Operation, ...] = ()
    stuck = operations[0]
    choices, first_return = _choices(model, head, operations, state)
    while first_return is not None and operations[first_return.number].returned is not None:
        for call, following in choices:
            position = (done | 1 << call.number, following)
            if position in tried:
                continue
            tried.add(position)
            placed.append((call, state, choices))
            done, state = position
            call.lift()
            choices, first_return = _choices(model, head, operations, state)
            break
        else:
            if len(placed) >= len(longest):
                longest = tuple(operations[call.number] for call, *_ in placed)
                stuck = operations[first_return.number]
            if not placed:
                return NotLinearizable(key, longest, stuck)
            call, state, choices = placed.pop()
            done &= ~(1 << call.number)
            call.put_back()
            first_return = _first_return(head)
    return None  # nothing is left, or only what never returned: that never happened


def _choices(
    model: Model, head: _Event, operations: Sequence[Operation], state: Hashable
) -> tuple[Iterator[tuple[_Event, Hashable]], _Event | None]:
    """Which operation may come next, with the state after it: one that was called before any of those left returned.
    A read that is possible now needs no other place, since it changes nothing for those after it."""
    possible: list[tuple[_Event, Hashable]] = []
    event = head.after
    while event is not None and event.partner is not None:
        operation = operations[event.number]
        following = model.step(state, operation.input, operation.output)
        if following is not ILLEGAL:
            if operation.is_read:
                return iter([(event, following)]), _first_return(event)
            possible.append((event, following))
        event = event.after
    return iter(possible), event


def _first_return(event: _Event | None) -> _Event | None:
    while event is not None and (event.partner is not None or event.number < 0):
        event = event.after
    return event
