"""A load generator in Python: what a client of grpc.aio gets, which is what nodes call each other with.

It prints the same JSON as the one in Go. ``--stream`` sends the next message of a stream when the answer to the last
has come, so that what it measures is a round trip.
"""

import asyncio
import dataclasses
import json
import time
from collections import Counter
from typing import Any

import click
import grpc

from bench.load import LoadResult

CALL_TIMEOUT = 10.0
PAUSE = 0.002
"""How long a caller waits after a failure."""

OPTIONS = (("grpc.enable_http_proxy", 0),)


async def call(target: str, method: str, message: bytes, *, callers: int, seconds: float, stream: bool) -> LoadResult:
    """Calls a method of so many callers, each again when it has its answer.

    Args:
        target: The server, ``host:port``.
        method: Its path, ``/Service/Method``.
        message: What is sent.
        callers: How many there are; each has a stream of its own if ``stream``.
        seconds: How long.
        stream: Whether the method takes and gives a stream.
    """
    latencies: list[float] = []
    failures: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        async with asyncio.timeout(CALL_TIMEOUT):
            await channel.channel_ready()
        end = time.perf_counter() + seconds
        unary: Any = channel.unary_unary  # Whose types ask for serializers, which bytes do without.
        streamed: Any = channel.stream_stream

        async def call_unary() -> None:
            invoke = unary(method)
            while (began := time.perf_counter()) < end:
                try:
                    await invoke(message, timeout=CALL_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    failures[error.code().name] += 1
                    await asyncio.sleep(PAUSE)
                else:
                    latencies.append(time.perf_counter() - began)

        async def call_stream() -> None:
            conversation = streamed(method)()
            while (began := time.perf_counter()) < end:
                await conversation.write(message)
                async with asyncio.timeout(CALL_TIMEOUT):
                    await conversation.read()
                latencies.append(time.perf_counter() - began)
            conversation.cancel()

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call_stream() if stream else call_unary())
    return dataclasses.replace(LoadResult.of(latencies, seconds, time.process_time()), failures=failures)


@click.command()
@click.argument("target")
@click.argument("method")
@click.option("--message", default="00" * 16, help="What is sent, in hexadecimal.")
@click.option("--callers", type=click.IntRange(min=1), default=1)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=3.0)
@click.option("--stream", is_flag=True)
def main(target: str, method: str, message: str, callers: int, seconds: float, stream: bool) -> None:
    """Calls METHOD of TARGET over and over and prints what came of it as JSON."""
    data = bytes.fromhex(message)
    try:
        result = asyncio.run(call(target, method, data, callers=callers, seconds=seconds, stream=stream))
    except ExceptionGroup as errors:
        raise click.ClickException(str(errors.exceptions[0])) from errors
    except TimeoutError:
        raise click.ClickException(f"{target} did not answer within {CALL_TIMEOUT:g} s") from None
    print(json.dumps(dataclasses.asdict(result)))


if __name__ == "__main__":
    main()
