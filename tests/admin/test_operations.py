"""Operations and their outcomes."""

import asyncio
import gc
import inspect
import re
import weakref

import pytest

from pyraft_lite.core.errors import OverloadedError
from pyraft_lite.rpc.operations import KEPT_OUTCOMES, KEPT_SECONDS, MAX_RUNNING, Operations, UnknownTokenError


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def operations(clock: Clock) -> Operations[str]:
    return Operations(clock)


async def at_once(outcome: str) -> str:
    return outcome


async def wait_for(future: "asyncio.Future[str]") -> str:
    return await future


async def ended(operations: Operations[str], outcome: str) -> str:
    """Begins an operation and lets it end."""
    token = operations.begin(at_once(outcome))
    assert await operations.outcome(token) == outcome
    return token


async def test_a_token_is_40_hexadecimal_digits_and_never_the_same(operations: Operations[str]) -> None:
    tokens = {operations.begin(at_once("done")) for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch("[0-9a-f]{40}", token) for token in tokens)


async def test_an_outcome_can_be_asked_for_before_and_after_the_end_as_often_as_wished(
    operations: Operations[str],
) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    token = operations.begin(wait_for(future))
    early = [asyncio.create_task(operations.outcome(token)) for _ in range(2)]
    future.set_result("done")
    assert await asyncio.gather(*early) == ["done", "done"]
    assert [await operations.outcome(token) for _ in range(2)] == ["done", "done"]


@pytest.mark.parametrize("token", ["", "deadbeef"])
async def test_an_unknown_token_is_named(operations: Operations[str], token: str) -> None:
    with pytest.raises(UnknownTokenError, match=f'^token "{token}" unknown$'):
        await operations.outcome(token)


async def test_a_forgotten_outcome_is_unknown_and_forgetting_again_is_no_error(operations: Operations[str]) -> None:
    token = await ended(operations, "done")
    for _ in range(2):
        operations.forget(token)
        with pytest.raises(UnknownTokenError):
            await operations.outcome(token)


async def test_whoever_gives_up_waiting_does_not_cancel_the_operation(operations: Operations[str]) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    token = operations.begin(wait_for(future))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(operations.outcome(token), 0.001)
    future.set_result("done")
    assert await operations.outcome(token) == "done"


async def test_an_operation_that_is_forgotten_under_way_goes_on_and_leaves_nothing(operations: Operations[str]) -> None:
    reached, went_on = asyncio.Event(), asyncio.Event()

    class Held:
        """Something that only the operation itself refers to, as its own future would be."""

        def __init__(self) -> None:
            self.event = asyncio.Event()

    def start() -> "tuple[str, weakref.ref[Held]]":
        held = Held()

        async def operation() -> str:
            reached.set()
            await held.event.wait()
            went_on.set()
            return "done"

        return operations.begin(operation()), weakref.ref(held)

    token, held = start()
    await reached.wait()
    operations.forget(token)
    gc.collect()
    survivor = held()
    assert survivor is not None, "a task that nobody refers to is collected"
    survivor.event.set()
    await went_on.wait()
    with pytest.raises(UnknownTokenError):
        await operations.outcome(token)


async def test_of_many_outcomes_those_not_asked_for_longest_are_dropped(operations: Operations[str]) -> None:
    first, second = await ended(operations, "first"), await ended(operations, "second")
    for number in range(KEPT_OUTCOMES - 2):
        await ended(operations, str(number))
    assert await operations.outcome(first) == "first"
    await ended(operations, "one too many")
    assert await operations.outcome(first) == "first"
    with pytest.raises(UnknownTokenError):
        await operations.outcome(second)


async def test_it_is_known_when_all_outcomes_have_been_asked_for(operations: Operations[str]) -> None:
    await operations.until_asked()
    tokens = [operations.begin(at_once("done")) for _ in range(3)]
    waiting = asyncio.ensure_future(operations.until_asked())
    assert await operations.outcome(tokens[0]) == "done"
    operations.forget(tokens[1])
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await operations.outcome(tokens[2]) == "done"
    await waiting


async def test_who_is_dropped_is_not_waited_for(operations: Operations[str]) -> None:
    operations.begin(at_once("nobody asks"))
    for number in range(KEPT_OUTCOMES):
        await ended(operations, str(number))
    await operations.until_asked()


async def test_operations_under_way_are_never_dropped(operations: Operations[str]) -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    token = operations.begin(wait_for(future))
    for number in range(KEPT_OUTCOMES + 1):
        await ended(operations, str(number))
    future.set_result("done")
    assert await operations.outcome(token) == "done"


async def test_no_more_are_begun_than_may_be_under_way_those_forgotten_included(operations: Operations[str]) -> None:
    for _ in range(2):
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        tokens = [operations.begin(wait_for(future)) for _ in range(MAX_RUNNING)]
        operations.forget(tokens[0])
        more = wait_for(future)
        with pytest.raises(OverloadedError, match=r"^overloaded: the limit of 1000 operations under way is reached$"):
            operations.begin(more)
        assert inspect.getcoroutinestate(more) == inspect.CORO_CLOSED
        future.set_result("done")
        assert [await operations.outcome(token) for token in tokens[1:]] == ["done"] * (MAX_RUNNING - 1)


async def test_an_outcome_is_dropped_when_nobody_asked_for_it_for_long(
    operations: Operations[str], clock: Clock
) -> None:
    token, asked = await ended(operations, "done"), await ended(operations, "asked for")
    clock.time += KEPT_SECONDS / 2
    assert await operations.outcome(asked) == "asked for"
    clock.time += KEPT_SECONDS / 2 + 1
    assert await operations.outcome(asked) == "asked for"
    with pytest.raises(UnknownTokenError):
        await operations.outcome(token)


async def test_close_cancels_what_is_under_way_forgotten_or_not(operations: Operations[str]) -> None:
    futures: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    tokens = [operations.begin(wait_for(future)) for future in futures]
    await asyncio.sleep(0)
    operations.forget(tokens[0])
    operations.close()
    with pytest.raises(asyncio.CancelledError):
        await operations.outcome(tokens[1])
    assert all(future.cancelled() for future in futures)
