"""Compares the engines: what a call costs that does nothing.

For each engine a server process echoes; client processes call it, each caller again as soon as it has its answer.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import click
import grpc

from pyraft_lite.rpc.engine import CallContext, available_engines, new_engine

TICKS = os.sysconf("SC_CLK_TCK")
CLIENTS = 2
PAYLOAD = bytes(16)


@dataclass(frozen=True)
class Result:
    """Calls, or messages of a stream, in one run: how many a second, their median latency, and the server's CPU."""

    per_second: float
    milliseconds: float
    cpu_microseconds: float


class Echo:
    """The service, without messages of its own."""

    async def unary(self, request: bytes, context: CallContext) -> bytes:
        return request

    async def stream(self, requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


async def serve(name: str) -> None:
    """Serves until stdin ends; tells the port on stdout."""
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(Echo().unary),
        "Stream": grpc.stream_stream_rpc_method_handler(Echo().stream),
    }
    engine = new_engine(name)
    engine.add_registered_method_handlers("Echo", handlers)
    print(await engine.start("127.0.0.1:0"), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await engine.stop()


async def call(port: str, method: str, callers: int, seconds: float) -> None:
    """Calls with so many callers for so long; tells the number of calls and their median latency on stdout."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        unary, stream = channel.unary_unary("/Echo/Unary"), channel.stream_stream("/Echo/Stream")
        latencies: list[float] = []
        end = time.perf_counter() + seconds

        async def caller() -> None:
            conversation = stream() if method == "stream" else None
            while (begun := time.perf_counter()) < end:
                if conversation is not None:
                    await conversation.write(PAYLOAD)
                    await conversation.read()
                else:
                    await unary(PAYLOAD, timeout=10)
                latencies.append(time.perf_counter() - begun)
            if conversation is not None:
                conversation.cancel()

        await asyncio.gather(*(caller() for _ in range(callers)))
    print(len(latencies), statistics.median(latencies))


def run_once(engine: str, method: str, callers: int, seconds: float) -> Result:
    """One server and its clients."""
    this = (sys.executable, __file__)
    command = (*this, "--serve", engine)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        clients = min(callers, CLIENTS)
        before = cpu_seconds(server.pid)
        processes = [
            subprocess.Popen(
                (*this, "--call", port, method, str(callers // clients), str(seconds)),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(clients)
        ]
        outputs = [process.communicate()[0].split() for process in processes]
        cpu = cpu_seconds(server.pid) - before
        server.stdin.close()
    calls = sum(int(count) for count, _ in outputs)
    latency = statistics.mean(float(median) for _, median in outputs)
    return Result(calls / seconds, latency * 1e3, cpu / calls * 1e6)


def cpu_seconds(pid: int) -> float:
    """What a process has used, in user and in kernel mode."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@click.command()
@click.option("--seconds", default=3.0, show_default=True, help="How long each run lasts.")
@click.option("--rounds", default=3, show_default=True, help="How often each is run; medians are shown.")
@click.option("--serve", "server", hidden=True)
@click.option("--call", "client", type=(str, str, int, float), hidden=True)
def main(seconds: float, rounds: int, server: str | None, client: tuple[str, str, int, float] | None) -> None:
    """Prints a table of calls a second, median latency, and CPU a call on the server."""
    if server:
        asyncio.run(serve(server))
    elif client:
        asyncio.run(call(*client))
    else:
        print("| callers | engine | calls/s | p50 ms | server's CPU µs/call |\n|---|---|---|---|---|")
        for method, callers in (("unary", 1), ("unary", 10), ("unary", 64), ("stream", 1), ("stream", 64)):
            results: dict[str, list[Result]] = {name: [] for name in available_engines()}
            for _ in range(rounds):
                for name, of_engine in results.items():
                    of_engine.append(run_once(name, method, callers, seconds))
            for name, of_engine in results.items():
                rate = statistics.median(each.per_second for each in of_engine)
                latency = statistics.median(each.milliseconds for each in of_engine)
                cpu = statistics.median(each.cpu_microseconds for each in of_engine)
                print(f"| {callers} {method} | {name} | {rate:.0f} | {latency:.2f} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
