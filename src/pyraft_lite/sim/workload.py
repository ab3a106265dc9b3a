"""What clients do with the replicated state machine. A library user writes a workload to simulate an application."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from pyraft_lite.core.entry import Entry
from pyraft_lite.runtime.fsm import FSM, FSMSnapshot, Sink
from pyraft_lite.sim import models
from pyraft_lite.sim.linearizability import Model


@dataclass(frozen=True, slots=True)
class Write:
    """A request that changes the state.

    Attributes:
        input: What the model calls it.
        command: What is replicated; the FSM's result is the output that the model is to explain.
    """

    input: Any
    command: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A request that looks at the state, without an entry in the log (R16).

    Attributes:
        input: What the model calls it.
        query: Gives the output that the model is to explain.
    """

    input: Any
    query: Callable[[Any], object]


class Workload(Protocol):
    """A state machine, the requests of its clients, and the model that says which answers are right.

    Attributes:
        model: What the answers are checked against; None: they are not checked.
    """

    model: Model | None

    def fsm(self) -> FSM:
        """A new state machine, as it is when nothing is applied. Two that have applied the same must write the same
        bytes into a snapshot."""
        ...

    def request(self, dice: random.Random, number: int, /) -> Write | Read:
        """What a client asks for next. All chance comes from ``dice``; ``number`` is another one each time."""
        ...


KEYS = 5


class AppendLists:
    """Lists that only grow: each read shows all that ever happened."""

    model: Model | None = models.AppendLists()

    def fsm(self) -> FSM:
        return _Lists()

    def request(self, dice: random.Random, number: int, /) -> Write | Read:
        key = f"list{dice.randrange(KEYS)}"
        if dice.random() < 0.75:
            return Write(models.Append(key, number), json.dumps([key, number]).encode())
        return Read(models.Elements(key), lambda fsm: tuple(fsm.state.get(key, ())))


class KeyValue:
    """Registers that are set, read, and set on a condition."""

    model: Model | None = models.KeyValue()

    def fsm(self) -> FSM:
        return _Registers()

    def request(self, dice: random.Random, number: int, /) -> Write | Read:
        key = f"register{dice.randrange(KEYS)}"
        match dice.choices(["put", "compare", "get"], [45, 30, 25])[0]:
            case "put":
                return Write(models.Put(key, number), json.dumps([key, number]).encode())
            case "compare":
                expected = max(0, number - dice.randrange(100))
                return Write(models.CompareAndSet(key, expected, number), json.dumps([key, number, expected]).encode())
            case _:
                return Read(models.Get(key), lambda fsm: fsm.state.get(key))


BUILT_IN: tuple[Workload, ...] = (AppendLists(), KeyValue())


class _JsonState:
    """A state that is kept as JSON in snapshots."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def snapshot(self) -> FSMSnapshot:
        return _JsonSnapshot(json.dumps(self.state, sort_keys=True).encode())

    def restore(self, source: BinaryIO, /) -> None:
        self.state = json.load(source)


@dataclass(frozen=True, slots=True)
class _JsonSnapshot:
    state: bytes

    def persist(self, sink: Sink, /) -> None:
        sink.write(self.state)


class _Lists(_JsonState):
    def apply(self, entry: Entry, /) -> object:
        key, value = json.loads(entry.data)
        elements: list[int] = self.state.setdefault(key, [])
        elements.append(value)
        return len(elements)


class _Registers(_JsonState):
    def apply(self, entry: Entry, /) -> object:
        key, value, *expected = json.loads(entry.data)
        before = self.state.get(key)
        if not expected:
            self.state[key] = value
            return before
        if before == expected[0]:
            self.state[key] = value
        return before == expected[0]
