"""hammer: adds two thousand words to a cluster, ten at a time, and asks which were the longest."""

import asyncio
import sys
from collections.abc import Callable, Iterator

import click
import grpc

from pyraft_lite.rpc.client import call_leader, channel_options
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc
from pyraft_lite.rpc.targets import grpc_target
from raftexample.dutch import number_word
from raftexample.flags import Seconds
from raftexample.textformat import one_line

DEFAULT_TARGET = "multi:///localhost:50051,localhost:50052,localhost:50053"
HEALTH_SERVICE = "Example"
LAST_NUMBER = 1999
WORKERS = 10


class HammerError(Exception):
    """A call that finally failed; the message says which and why."""


async def hammer(target: str, timeout: float, advance: Callable[[int], None]) -> example_pb2.GetWordsResponse:
    """Adds the words for 1 to 1999 and returns the longest.

    Args:
        target: The cluster.
        timeout: Seconds for each call, with its retries and the wait for a leader.
        advance: Is told how many more words have been acknowledged.

    Raises:
        HammerError: a call failed.
        ValueError: the target is invalid.
    """
    async with grpc.aio.insecure_channel(grpc_target(target), options=channel_options(HEALTH_SERVICE)) as channel:
        stub = example_pb2_grpc.ExampleStub(channel)
        words = (number_word(number) for number in range(1, LAST_NUMBER + 1))
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(WORKERS):
                    workers.create_task(add_words(stub, words, timeout, advance))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        try:
            return await call_leader(stub.GetWords, example_pb2.GetWordsRequest(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise HammerError(f"GetWords failed: {describe(error, timeout)}") from error


async def add_words(
    stub: example_pb2_grpc.ExampleStub, words: Iterator[str], timeout: float, advance: Callable[[int], None]
) -> None:
    """Takes words from what is left of them until there are none."""
    for word in words:
        try:
            await call_leader(stub.AddWord, example_pb2.AddWordRequest(word=word), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise HammerError(f'AddWord("{word}") failed: {describe(error, timeout)}') from error
        advance(1)


def describe(error: grpc.aio.AioRpcError, timeout: float) -> str:
    """An RPC error in a line."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no leader answered within {timeout:g} s"
    return f"{error.code().name}: {error.details()}"


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--target", default=DEFAULT_TARGET, help="The cluster: host:port, dns:///… or multi:///a:1,b:2,c:3.")
@click.option("--timeout", type=Seconds(), default=60.0, help="Seconds for each call, retries included.")
def main(target: str, timeout: float) -> None:
    """Adds the Dutch words for 1 to 1999 through whatever node leads, and prints the three longest."""
    progress = click.progressbar(length=LAST_NUMBER, label="words", file=sys.stderr, hidden=not sys.stderr.isatty())
    try:
        with progress:
            response = asyncio.run(hammer(target, timeout, progress.update))
    except (HammerError, ValueError) as error:
        print(f"hammer: {error}", file=sys.stderr)
        sys.exit(1)
    print(one_line(response))


if __name__ == "__main__":
    main()
