"""A channel to a peer that comes and goes."""

import asyncio

import grpc
import pytest
from h2_peer import answer, ignore, respond, running
from peers import Handler, serving

from pyraft_lite.rpc.grpc_channel import GrpcChannel
from pyraft_lite.rpc.grpc_connection import CallError
from pyraft_lite.rpc.http2.frames import MAX_WINDOW
from raftexample.local_cluster import free_ports

PATIENCE = 30.0


async def ask(channel: GrpcChannel) -> bytes:
    return await channel.unary("/Echo/Unary", b"", PATIENCE)


async def test_it_connects_when_it_is_used_and_once() -> None:
    async with running(respond(b"pong")) as peer:
        channel = GrpcChannel(peer.address)
        await asyncio.sleep(0.05)
        assert peer.connections == 0
        assert await asyncio.gather(*(ask(channel) for _ in range(10))) == [b"pong"] * 10
        assert await ask(channel) == b"pong"
        assert peer.connections == 1
        await channel.close()


async def test_it_connects_again_when_the_connection_was_lost() -> None:
    async with running(respond(b"pong")) as peer:
        channel = GrpcChannel(peer.address)
        for count in (1, 2, 3):
            lost = asyncio.create_task(channel.until_lost())
            assert await ask(channel) == b"pong"
            assert peer.connections == count
            peer.writers[-1].close()
            await lost
        await channel.close()


async def test_it_connects_again_for_the_call_after_a_goodbye() -> None:
    async with running(respond(b"pong")) as peer:
        channel = GrpcChannel(peer.address)
        for count in (1, 2, 3):
            assert await ask(channel) == b"pong"
            assert peer.connections == count
            peer.say_goodbye(last=1)
            await peer.until(lambda count=count: peer.closed == count)
        await channel.close()


async def test_it_connects_again_after_a_call_in_vain() -> None:
    async with running(respond(b"pong")) as peer:
        channel = GrpcChannel(peer.address)
        assert await ask(channel) == b"pong"
        peer.script = ignore
        with pytest.raises(CallError, match="DEADLINE_EXCEEDED"):
            await channel.unary("/Echo/Unary", b"", 0.05)
        peer.script = respond(b"pong")
        assert await ask(channel) == b"pong"
        assert peer.connections == 2
        await channel.close()


async def test_it_connects_again_when_there_are_no_numbers_left_for_streams() -> None:
    async with running(respond(b"pong")) as peer:
        channel = GrpcChannel(peer.address)
        assert await ask(channel) == b"pong"
        assert channel._current is not None
        channel._current._http2._next = MAX_WINDOW
        assert await ask(channel) == b"pong"
        assert peer.connections == 2
        await peer.until(lambda: peer.closed == 1)
        await channel.close()


async def test_it_fails_at_once_while_nobody_listens_and_then_works() -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    channel = GrpcChannel(address)
    for _ in range(2):
        with pytest.raises(CallError, match=r"^UNAVAILABLE: failed to connect: "):
            await ask(channel)
    async with serving(Handler(), address):
        with pytest.raises(CallError) as failure:
            await ask(channel)
        assert failure.value.code is grpc.StatusCode.UNIMPLEMENTED
        await channel.close()


async def test_whoever_waits_for_a_connection_to_break_makes_one_as_soon_as_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.grpc_channel._PAUSE", 0.01)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    channel = GrpcChannel(address)
    lost = asyncio.create_task(channel.until_lost())
    with pytest.raises(CallError):
        await ask(channel)
    async with running(ignore, address) as peer:
        await peer.until(lambda: peer.connections == 1)
        assert not lost.done()
        peer.writers[0].close()
        await lost
    await channel.close()


async def test_when_it_is_closed_all_calls_end_and_the_connections_are_gone() -> None:
    begun = asyncio.Event()
    async with running(lambda *_: begun.set()) as peer:
        channel = GrpcChannel(peer.address)
        call = asyncio.create_task(ask(channel))
        lost = asyncio.create_task(channel.until_lost())
        await begun.wait()
        await channel.close()
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await call
        with pytest.raises(CallError, match="UNAVAILABLE: the channel is closed"):
            await ask(channel)
        await lost
        await channel.until_lost()
        await peer.until(lambda: peer.closed == 1)


async def test_what_a_peer_refuses_leaves_the_connection_alone() -> None:
    async with running(
        answer((b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-status", b"5"))
    ) as peer:
        channel = GrpcChannel(peer.address)
        for _ in range(3):
            with pytest.raises(CallError, match="NOT_FOUND"):
                await ask(channel)
        assert peer.connections == 1
        await channel.close()
