"""Timers for times of the monotonic clock, on the loops that nodes may run on."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest
import uvloop

from pyraft_lite.timers import call_at


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_who_asks_for_the_rest_of_its_time_does_not_ask_again_and_again(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def calls_until(delay: float) -> int:
        loop = asyncio.get_running_loop()
        due, calls, is_due = monotonic() + delay, 0, loop.create_future()

        def look() -> None:
            nonlocal calls
            calls += 1
            if monotonic() < due:
                call_at(loop, due, look)
            else:
                is_due.set_result(None)

        call_at(loop, due, look)
        await is_due
        return calls

    async def main() -> list[int]:
        return [await calls_until(tenths / 10_000) for tenths in range(60)]

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert max(runner.run(main())) <= 5  # without an allowance, some tens
