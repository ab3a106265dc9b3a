"""Virtual time: things happen when their time comes, and nothing else passes."""

import heapq
import random
from collections.abc import Callable
from typing import Any


class World:
    """The clock, the dice and the calendar of a simulation; one seed gives one course of events.

    Attributes:
        now: Seconds since the beginning.
        random: The chance of everything that has no dice of its own.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self._seed = seed
        self.random = self.dice("world")
        self._calendar: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def dice(self, name: str) -> random.Random:
        """Dice of their own for one part of the simulation: how often they are cast changes nothing elsewhere."""
        return random.Random(f"{self._seed} {name}")

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Does something at ``time``; of things of the same time, the first asked for comes first."""
        self._count += 1
        heapq.heappush(self._calendar, (time, self._count, action, arguments))

    def after(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        """Does something ``delay`` seconds from now."""
        self.at(self.now + delay, action, *arguments)

    def soon(self, mean: float, action: Callable[..., None], *arguments: Any) -> None:
        """Does something after a random delay, exponential with this mean in seconds."""
        self.after(self.random.expovariate(1 / mean), action, *arguments)

    def unique(self) -> int:
        """A number that was not given out before, greater than all that were."""
        self._count += 1
        return self._count

    def run_until(self, time: float) -> None:
        """Lets everything happen that is due before ``time``."""
        while self._calendar and self._calendar[0][0] < time:
            self.now, _, action, arguments = heapq.heappop(self._calendar)
            action(*arguments)
        self.now = time
