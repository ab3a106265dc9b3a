"""Models for the linearizability checker: a register, a store of registers by key, and lists that only grow."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from pyraft_lite.sim.linearizability import ILLEGAL, UNKNOWN


@dataclass(frozen=True, slots=True)
class Get:
    """Reads the value of ``key``; gives None if there is none."""

    key: str = ""


@dataclass(frozen=True, slots=True)
class Put:
    """Sets the value of ``key``; gives the one before, None if there was none."""

    key: str
    value: Hashable


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Sets the value of ``key`` if it is ``expected``; gives whether it was."""

    key: str
    expected: Hashable
    value: Hashable


class KeyValue:
    """A store of independent registers. With one key it is a register."""

    def key(self, input: Get | Put | CompareAndSet, /) -> str:
        return input.key

    def initial(self) -> Hashable:
        return None

    def step(self, state: Hashable, input: Get | Put | CompareAndSet, output: object, /) -> Hashable:
        match input:
            case Get():
                return state if output is UNKNOWN or output == state else ILLEGAL
            case Put():
                return input.value if output is UNKNOWN or output == state else ILLEGAL
            case CompareAndSet():
                matches = state == input.expected
                if output is not UNKNOWN and output is not matches:
                    return ILLEGAL
                return input.value if matches else state


@dataclass(frozen=True, slots=True)
class Append:
    """Adds to the list of ``key``; gives its new length."""

    key: str
    value: Hashable


@dataclass(frozen=True, slots=True)
class Elements:
    """Reads the list of ``key``; gives a tuple."""

    key: str


class AppendLists:
    """Lists by key. A read shows everything that ever happened to its list, so that few histories are linearizable by
    chance."""

    def key(self, input: Append | Elements, /) -> str:
        return input.key

    def initial(self) -> tuple[Hashable, ...]:
        return ()

    def step(self, state: tuple[Hashable, ...], input: Append | Elements, output: object, /) -> Hashable:
        match input:
            case Append():
                if output is not UNKNOWN and output != len(state) + 1:
                    return ILLEGAL
                return (*state, input.value)
            case Elements():
                return state if output is UNKNOWN or output == state else ILLEGAL
