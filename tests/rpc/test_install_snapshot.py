"""Snapshots on their way from node to node."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
import pytest
from peers import ALICE, Handler, calling, serving, stream

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.messages import InstallSnapshotRequest, InstallSnapshotResponse
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import RaftTransportStub
from pyraft_lite.rpc.transport import SNAPSHOT_CHUNK_BYTES, Deadlines
from pyraft_lite.runtime.transport import FailureKind, TransportError

CONFIGURATION = Configuration((Server("alice", "alice.test:1"), Server("bob", "bob.test:1")))


def snapshot(size: int) -> InstallSnapshotRequest:
    return InstallSnapshotRequest(3, ALICE, 9, 2, CONFIGURATION, 5, size)


def messages(size: int, chunks: Iterable[bytes]) -> list[pb.InstallSnapshotRequest]:
    return [wire.encode_snapshot_request(snapshot(size)), *(pb.InstallSnapshotRequest(data=data) for data in chunks)]


async def test_a_snapshot_arrives_whole() -> None:
    handler = Handler()
    state = bytes(range(256)) * 12_000
    async with serving(handler) as bob, calling() as transport:
        chunks = stream([state[:10], state[10:20], b"", state[20:]])
        response = await transport.install_snapshot(bob, snapshot(len(state)), chunks)
    assert response == InstallSnapshotResponse(3, success=True)
    assert handler.requests == [snapshot(len(state))]
    assert handler.received == state


async def test_an_empty_snapshot_arrives() -> None:
    handler = Handler()
    async with serving(handler) as bob, calling() as transport:
        response = await transport.install_snapshot(bob, snapshot(0), stream([]))
    assert response.success
    assert handler.received == b""


async def test_large_chunks_are_cut_into_messages_a_peer_takes() -> None:
    sizes: list[int] = []

    async def take(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        sizes.extend([len(chunk) async for chunk in chunks])
        return InstallSnapshotResponse(3, success=True)

    size = 2 * SNAPSHOT_CHUNK_BYTES + 1
    async with serving(Handler(take=take)) as bob, calling() as transport:
        await transport.install_snapshot(bob, snapshot(size), stream([bytes(size)]))
    assert sizes == [SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES, 1]


async def test_data_in_the_first_message_counts() -> None:
    handler = Handler()
    async with serving(handler) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        head, tail = messages(4, [b"te"])
        head.data = b"sta"[:2]
        await RaftTransportStub(channel).InstallSnapshot(iter([head, tail]))
    assert handler.received == b"stte"


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([b"sta", b"te"], "the snapshot is larger than the 4 bytes announced"),
        ([b"sta"], "the snapshot ended after 3 of the 4 bytes announced"),
        ([], "the snapshot ended after 0 of the 4 bytes announced"),
    ],
    ids=["long", "short", "empty"],
)
@pytest.mark.parametrize("patience", ["reads all", "reads what was announced"])
async def test_more_or_less_than_was_announced_is_refused(chunks: list[bytes], reason: str, patience: str) -> None:
    async def take(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        received = 0
        async for chunk in chunks:
            received += len(chunk)
            if patience != "reads all" and received >= 3:
                break
        return InstallSnapshotResponse(3, success=True)

    async with serving(Handler(take=take)) as bob, calling() as transport:
        with pytest.raises(TransportError, match=reason) as failure:
            await transport.install_snapshot(bob, snapshot(4), stream(chunks))
    assert failure.value.kind is FailureKind.REJECTED


async def test_what_the_handler_leaves_unread_is_drained() -> None:
    produced = 0

    async def refuse(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        return InstallSnapshotResponse(4, success=False)

    async def produce() -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(20):
            yield bytes(SNAPSHOT_CHUNK_BYTES)
            produced += 1

    async with serving(Handler(take=refuse)) as bob, calling() as transport:
        response = await transport.install_snapshot(bob, snapshot(20 * SNAPSHOT_CHUNK_BYTES), produce())
    assert response == InstallSnapshotResponse(4, success=False)
    assert produced == 20


async def test_an_error_of_the_handler_is_a_rejection_after_the_stream_is_drained() -> None:
    async def fail(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        raise StorageError("disk full")

    async with serving(Handler(take=fail)) as bob, calling() as transport:
        chunks = stream([bytes(SNAPSHOT_CHUNK_BYTES)] * 20)
        with pytest.raises(TransportError, match="disk full") as failure:
            await transport.install_snapshot(bob, snapshot(20 * SNAPSHOT_CHUNK_BYTES), chunks)
    assert failure.value.kind is FailureKind.REJECTED


async def test_a_stream_without_a_message_is_refused() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="the stream ended before") as failure:
            await RaftTransportStub(channel).InstallSnapshot(iter([]))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_first_message_that_makes_no_sense_is_refused() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="unsupported snapshot version 0") as failure:
            await RaftTransportStub(channel).InstallSnapshot(iter([pb.InstallSnapshotRequest(data=b"state")]))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class Interrupted:
    """Takes a snapshot that never gets whole; ``ended`` says with which error."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended: asyncio.Future[type[BaseException] | None] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        try:
            async for _ in chunks:
                self.begun.set()
        except BaseException as error:
            self.ended.set_result(type(error))
            raise
        self.ended.set_result(None)
        return InstallSnapshotResponse(3, success=True)


async def test_a_handler_whose_sender_vanishes_is_cancelled_or_told() -> None:
    take = Interrupted()
    async with serving(Handler(take=take)) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        call = RaftTransportStub(channel).InstallSnapshot(None)
        for message in messages(4, [b"st"]):
            await call.write(message)
        await take.begun.wait()
        call.cancel()
        assert await take.ended in (asyncio.CancelledError, wire.WireError)


async def test_a_peer_that_takes_nothing_more_is_a_timeout() -> None:
    async def stuck(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        await asyncio.Event().wait()
        raise AssertionError

    size = 20 * SNAPSHOT_CHUNK_BYTES
    async with serving(Handler(take=stuck)) as bob, calling(Deadlines(snapshot=0.2)) as transport:
        with pytest.raises(TransportError, match=r"no progress for 0\.2 s") as failure:
            await transport.install_snapshot(bob, snapshot(size), stream([bytes(size)]))
    assert failure.value.kind is FailureKind.TIMEOUT


async def test_a_peer_that_never_answers_is_a_timeout() -> None:
    async def stuck(request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]) -> InstallSnapshotResponse:
        async for _ in chunks:
            pass
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Handler(take=stuck)) as bob, calling(Deadlines(snapshot=0.2)) as transport:
        with pytest.raises(TransportError, match="no progress") as failure:
            await transport.install_snapshot(bob, snapshot(3), stream([b"abc"]))
    assert failure.value.kind is FailureKind.TIMEOUT


async def test_slow_but_steady_progress_is_no_timeout() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.05)
            yield b"x"

    handler = Handler()
    async with serving(handler) as bob, calling(Deadlines(snapshot=0.3)) as transport:
        assert (await transport.install_snapshot(bob, snapshot(8), slowly())).success
    assert handler.received == b"x" * 8


async def test_a_peer_that_is_gone_is_unreachable() -> None:
    async with serving(Handler()) as bob:
        pass
    async with calling() as transport:
        with pytest.raises(TransportError) as failure:
            await transport.install_snapshot(bob, snapshot(3), stream([b"abc"]))
    assert failure.value.kind is FailureKind.UNREACHABLE


async def test_an_error_in_reading_the_snapshot_is_raised_and_the_transfer_broken_off() -> None:
    take = Interrupted()

    async def unreadable() -> AsyncIterator[bytes]:
        yield b"st"
        await take.begun.wait()
        raise StorageError("unreadable")

    async with serving(Handler(take=take)) as bob, calling() as transport:
        with pytest.raises(StorageError, match="unreadable"):
            await transport.install_snapshot(bob, snapshot(4), unreadable())
        assert await take.ended in (asyncio.CancelledError, wire.WireError)
