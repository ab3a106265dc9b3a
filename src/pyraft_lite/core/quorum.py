"""What a majority of voters has reached: the one piece of arithmetic under commit, lease and reads."""

from collections.abc import Iterable
from typing import TypeVar

N = TypeVar("N", int, float)


def majority_reached(values: Iterable[N]) -> N:
    """The largest value that more than half of ``values`` (one per voter) have reached.

    Of match indexes it is what may be committed (dissertation 3.6.2), of times of contact the start of the leader's
    lease, of acknowledged RPCs the last one that confirmed leadership.
    """
    ordered = sorted(values, reverse=True)
    return ordered[len(ordered) // 2]


def majority_of(voters: int) -> int:
    """How many of so many voters make a majority."""
    return voters // 2 + 1
