"""Operations that clients begin with one call, and ask for the outcome of with others."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from pyraft_lite.core.errors import OverloadedError
from pyraft_lite.runtime.limit import Limit

Outcome = TypeVar("Outcome")

TOKEN_BYTES = 20

MAX_RUNNING = 1000
"""How many operations may be under way, those included that were forgotten."""

KEPT_OUTCOMES = 1000
KEPT_SECONDS = 3600.0
"""How many outcomes are kept that nobody forgot, and how long since they came or were last asked for."""


class UnknownTokenError(Exception):
    """No operation has this token, or it has been forgotten."""

    def __init__(self, token: str) -> None:
        super().__init__(f'token "{token}" unknown')


class Operations(Generic[Outcome]):
    """Carries operations out, each under a token that no one can guess, and keeps their outcomes for a while.

    An operation goes on to its end, whether or not anyone waits for it or it was forgotten; :meth:`close` cancels it.

    Args:
        now: The clock that ages are measured by, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._limit = Limit("operations", MAX_RUNNING)
        self._tasks: set[asyncio.Task[Outcome]] = set()  # The event loop alone would not keep them alive.
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        # Those that were not asked for longest come first.
        self._ended: dict[str, tuple[asyncio.Task[Outcome], float]] = {}
        self._unasked: set[str] = set()
        self._all_asked = asyncio.Event()
        self._all_asked.set()

    def begin(self, operation: Coroutine[Any, Any, Outcome]) -> str:
        """Starts an operation; returns its token, 40 hexadecimal digits.

        Raises:
            OverloadedError: too many are under way.
        """
        try:
            self._limit.enter()
        except OverloadedError:
            operation.close()
            raise
        token = secrets.token_hex(TOKEN_BYTES)
        task = asyncio.get_running_loop().create_task(operation)
        self._tasks.add(task)
        self._running[token] = task
        self._unasked.add(token)
        self._all_asked.clear()
        task.add_done_callback(partial(self._end, token))
        return token

    async def outcome(self, token: str) -> Outcome:
        """Waits until the operation has ended; whoever is cancelled while waiting does not cancel the operation.

        Raises:
            UnknownTokenError: no operation has this token, or it has been forgotten.
            Exception: whatever the operation raised.
        """
        self._note_asked(token)
        task = self._running.get(token)
        if task is None:
            self._drop_old()
            if token not in self._ended:
                raise UnknownTokenError(token)
            task, _ = self._ended.pop(token)
            self._keep(token, task)
        return await asyncio.shield(task)

    def forget(self, token: str) -> None:
        """Drops the outcome, now or when there is one."""
        self._running.pop(token, None)
        self._ended.pop(token, None)
        self._note_asked(token)

    async def until_asked(self) -> None:
        """Returns when somebody has asked for the outcome of each operation that was begun, or forgotten it."""
        await self._all_asked.wait()

    def close(self) -> None:
        """Cancels what is under way."""
        for task in self._tasks:
            task.cancel()

    def _end(self, token: str, task: asyncio.Task[Outcome]) -> None:
        self._tasks.discard(task)
        self._limit.leave()
        if self._running.pop(token, None) is not None:
            self._keep(token, task)
            self._drop_old()

    def _note_asked(self, token: str) -> None:
        self._unasked.discard(token)
        if not self._unasked:
            self._all_asked.set()

    def _keep(self, token: str, task: asyncio.Task[Outcome]) -> None:
        self._ended[token] = (task, self._now())

    def _drop_old(self) -> None:
        while self._ended:
            token, (_, asked) = next(iter(self._ended.items()))
            if len(self._ended) <= KEPT_OUTCOMES and self._now() - asked <= KEPT_SECONDS:
                return
            del self._ended[token]
            self._note_asked(token)
