"""What a mutant is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyraft_lite.sim import Violation

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

    def is_shown_by(self, run: Callable[[], object]) -> bool:
        """True if ``run`` meets a violation; the bug must have been put back.

        Raises:
            Exception: what was met is no bug of the core's: the code of a mutant raised this.
        """
        try:
            run()
        except Violation as violation:
            if (error := violation.__cause__) is not None and _is_raised_here(error):
                raise error from None
            return True
        return False


def _is_raised_here(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(__file__).parent in Path(trace.tb_frame.f_code.co_filename).parents


def mutant(
    *rules: str, budget: int = BUDGET, profile: str | None = None
) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Mutant]:
    """Makes a mutant of a function that patches the core; its docstring says what is wrong."""

    def make(patch: Callable[[pytest.MonkeyPatch], None]) -> Mutant:
        return Mutant(patch.__name__, (patch.__doc__ or "").strip(), rules, budget, profile, patch)

    return make
