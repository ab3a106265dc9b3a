"""A server that only echoes: what an engine costs without a Raft behind it."""

import asyncio
import sys
from collections.abc import AsyncIterator

import click
import grpc

from pyraft_lite.process import run_process
from pyraft_lite.rpc.engine import CallContext, available_engines, new_engine


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


@click.command()
@click.argument("engine", type=click.Choice(available_engines()))
def main(engine: str) -> None:
    """Echoes on ENGINE until stdin ends."""
    run_process(serve(engine))


if __name__ == "__main__":
    main()
