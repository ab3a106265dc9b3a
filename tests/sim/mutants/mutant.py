"""What a mutant is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

BUDGET = 60


@dataclass(frozen=True, slots=True)
class Mutant:
    """A known bug.

    Attributes:
        name, what: Of the bug, and what is wrong.
        rules: The rules it breaks.
        budget: Within so many seeds it must be found.
        profile: By name, the one it is looked for in; None: whichever the seed draws.
        patch: Replaces what it breaks.
    """

    name: str
    what: str
    rules: tuple[str, ...]
    budget: int
    profile: str | None
    patch: Callable[[pytest.MonkeyPatch], None]

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """The bug is there until the end of the block."""
        with pytest.MonkeyPatch.context() as patch:
            self.patch(patch)
            yield


def mutant(
    *rules: str, budget: int = BUDGET, profile: str | None = None
) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Mutant]:
    """Makes a mutant of a function that patches the core; its docstring says what is wrong."""

    def make(patch: Callable[[pytest.MonkeyPatch], None]) -> Mutant:
        return Mutant(patch.__name__, (patch.__doc__ or "").strip(), rules, budget, profile, patch)

    return make
