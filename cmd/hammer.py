"""hammer: adds two thousand words to a cluster, ten at a time, and asks which were the longest; or adds words for as
long as it is told, and measures how fast that goes."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import click

from pyraft_lite.process import run_process
from pyraft_lite.rpc.grpc_connection import CallError
from pyraft_lite.rpc.leader_client import LeaderClient
from pyraft_lite.rpc.limits import MAX_COMMAND_BYTES
from pyraft_lite.rpc.pb.example_pb2 import GetWordsRequest, GetWordsResponse
from raftexample.dutch import number_word
from raftexample.flags import Seconds
from raftexample.hammering import HammerError, WordList, Worker, add_all, calling, describe
from raftexample.textformat import one_line

# What the program's own job does not need is imported where it is used: else that job would wait for it as well.
if TYPE_CHECKING:
    from raftexample.load import Summary

DEFAULT_TARGET = "multi:///localhost:50051,localhost:50052,localhost:50053"
HEALTH_SERVICE = "Example"
LAST_NUMBER = 1999
WORKERS = 10
WORD_BYTES = 16

MODES = ("unary", "stream")

REQUEST_WORDS = 100
REQUEST_BYTES = 256 * 1024
"""At most so many words, of so many bytes together (unless one word is longer), go into one request of a stream."""


async def hammer(
    target: str, mode: str, concurrency: int, timeout: float, advance: Callable[[int], None]
) -> GetWordsResponse:
    """Adds the words for 1 to 1999 and returns the longest.

    Args:
        target: The cluster.
        mode: One of MODES.
        concurrency: How many callers, or streams.
        timeout: Seconds for each call, with its retries and the wait for a leader.
        advance: Is told how many more words have been acknowledged.

    Raises:
        HammerError: a call failed.
        ValueError: the target is invalid.
    """
    words = (number_word(number) for number in range(1, LAST_NUMBER + 1))
    async with LeaderClient(target, HEALTH_SERVICE) as client:
        async with adding(client, target, mode) as worker:
            await add_all(worker, WordList(words, request_words(mode), advance), concurrency, timeout)
        try:
            request = GetWordsRequest().SerializeToString()
            return GetWordsResponse.FromString(await client.call("/Example/GetWords", request, timeout=timeout))
        except CallError as error:
            raise HammerError(f"GetWords failed: {describe(error.code, error.details, timeout)}") from error


async def load(
    target: str, mode: str, concurrency: int, timeout: float, duration: float, rate: int | None, size: int
) -> "Summary":
    """Adds words for a while.

    Args:
        target: The cluster.
        mode: One of MODES.
        concurrency: How many callers, or streams.
        timeout: Seconds for each call, with its retries and the wait for a leader.
        duration: Seconds.
        rate: Words a second, None: as many as it goes.
        size: Bytes of each word.

    Raises:
        HammerError: a call failed in a way that others will as well.
        ValueError: the target is invalid.
    """
    from raftexample.load import Load

    async with LeaderClient(target, HEALTH_SERVICE) as client, adding(client, target, mode) as worker:
        source = Load(duration, rate, size, request_words(mode, size))
        await add_all(worker, source, concurrency, timeout)
        return source.summary()


@contextlib.asynccontextmanager
async def adding(client: LeaderClient, target: str, mode: str) -> AsyncIterator[Worker]:
    """Who adds words in this mode."""
    if mode == "unary":
        yield calling(client)
        return
    import grpc

    from pyraft_lite.rpc.client import channel_options
    from pyraft_lite.rpc.targets import grpc_target
    from raftexample.hammering_streams import streaming

    async with grpc.aio.insecure_channel(grpc_target(target), options=channel_options(HEALTH_SERVICE)) as channel:
        yield streaming(channel)


def request_words(mode: str, size: int = WORD_BYTES) -> int:
    """How many words of so many bytes go into one request."""
    return 1 if mode == "unary" else max(1, min(REQUEST_WORDS, REQUEST_BYTES // size))


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--target", default=DEFAULT_TARGET, help="The cluster: host:port, dns:///… or multi:///a:1,b:2,c:3.")
@click.option("--timeout", type=Seconds(), default=60.0, help="Seconds for each call, retries included.")
@click.option("--mode", type=click.Choice(MODES), default=MODES[0], help="A call for each word, or streams of words.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), default=WORKERS, help="How many callers or streams.")
@click.option("--duration", type=Seconds(), default=None, help="Instead: add words for so many seconds, and measure.")
@click.option(
    "--rate", type=click.IntRange(1, 10_000_000), default=None, help="With --duration: words a second in all."
)
@click.option(
    "--size",
    type=click.IntRange(1, MAX_COMMAND_BYTES),
    default=None,
    help=f"With --duration: bytes a word.  [{WORD_BYTES}]",
)
@click.option("--json", is_flag=True, help="With --duration: print the figures as a JSON object.")
def main(
    target: str,
    timeout: float,
    mode: str,
    concurrency: int,
    duration: float | None,
    rate: int | None,
    size: int | None,
    json: bool,
) -> None:
    """Adds the Dutch words for 1 to 1999 through whatever node leads, and prints the three longest."""
    if duration is None:
        for name, value in (("--rate", rate), ("--size", size), ("--json", json or None)):
            if value is not None:
                raise click.UsageError(f"{name} needs --duration: without it, hammer adds the words for 1 to 1999")
    try:
        if duration is None:
            add_numbers(target, mode, concurrency, timeout)
            return
        summary = run_process(load(target, mode, concurrency, timeout, duration, rate, size or WORD_BYTES))
    except (HammerError, ValueError) as error:
        print(f"hammer: {error}", file=sys.stderr)
        sys.exit(1)
    print(summary.json() if json else summary.line())
    if summary.errors:
        print(f"hammer: {summary.errors} words failed, the first thus: {summary.first_error}", file=sys.stderr)
        sys.exit(1)


def add_numbers(target: str, mode: str, concurrency: int, timeout: float) -> None:
    """The default job, with its progress on a terminal."""
    progress = click.progressbar(length=LAST_NUMBER, label="words", file=sys.stderr, hidden=not sys.stderr.isatty())
    with progress:
        response = run_process(hammer(target, mode, concurrency, timeout, progress.update))
    print(one_line(response))


if __name__ == "__main__":
    main()
