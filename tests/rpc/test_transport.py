"""RPCs between two nodes over real gRPC."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import grpc
import pytest
from h2_peer import ignore, respond, running
from peers import ALICE, Handler, append, calling, listening, send, serving, serving_node, yes

from engines import chosen_engine
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import ShutdownError
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    InstallSnapshotRequest,
    Request,
    RequestPreVoteRequest,
    RequestVoteRequest,
    Response,
    TimeoutNowRequest,
)
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import RaftTransportStub
from pyraft_lite.rpc.pipeline import GrpcPipeline
from pyraft_lite.rpc.transport import Deadlines
from pyraft_lite.runtime.transport import FailureKind, TransportError

HASTY = Deadlines(control=0.1, append=0.1, snapshot=0.1)

VOTE = RequestVoteRequest(2, ALICE, 7, 1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def absent() -> Server:
    """A server whose port nobody listens on."""
    return Server("bob", f"127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "request_",
    [
        AppendEntriesRequest(2, ALICE),
        AppendEntriesRequest(2, ALICE, 7, 1, (Entry(8, 2, EntryType.COMMAND, b"word"), Entry(9, 2, EntryType.NOOP)), 7),
        RequestVoteRequest(2, ALICE, 7, 1, leadership_transfer=True),
        RequestPreVoteRequest(2, ALICE, 7, 1),
        TimeoutNowRequest(ALICE),
    ],
    ids=["heartbeat", "append", "vote", "pre-vote", "timeout-now"],
)
async def test_a_request_reaches_the_peers_handler_and_its_response_comes_back(request_: Request) -> None:
    handler = Handler()
    async with serving(handler) as bob, calling() as transport:
        assert await transport.send(bob, request_) == yes(request_)
    assert handler.requests == [request_]


async def test_an_answer_names_the_node_that_gave_it() -> None:
    async with serving(Handler()) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        header = pb.RPCHeader(protocol_version=3, id=b"alice", addr=b"alice.test:1")
        response = await RaftTransportStub(channel).TimeoutNow(pb.TimeoutNowRequest(rpc_header=header))
    assert response.rpc_header == pb.RPCHeader(protocol_version=3, id=b"bob", addr=b"bob.test:1")


async def test_an_append_as_large_as_a_message_may_be_arrives() -> None:
    handler = Handler()
    entry = Entry(1, 1, EntryType.COMMAND, bytes(MAX_MESSAGE_BYTES - 200))
    async with serving(handler) as bob, calling() as transport:
        await transport.send(bob, AppendEntriesRequest(1, ALICE, entries=(entry,)))
    assert handler.requests == [AppendEntriesRequest(1, ALICE, entries=(entry,))]


async def test_an_append_larger_than_a_message_may_be_is_rejected() -> None:
    entry = Entry(1, 1, EntryType.COMMAND, bytes(MAX_MESSAGE_BYTES))
    async with serving(Handler()) as bob, calling() as transport:
        with pytest.raises(TransportError, match="RESOURCE_EXHAUSTED") as failure:
            await transport.send(bob, AppendEntriesRequest(1, ALICE, entries=(entry,)))
    assert failure.value.kind is FailureKind.REJECTED


async def test_a_peer_that_is_gone_is_unreachable() -> None:
    bob = absent()
    async with calling() as transport:
        with pytest.raises(TransportError, match=f"RequestVote to {bob.address}: UNAVAILABLE") as failure:
            await transport.send(bob, VOTE)
    assert failure.value.kind is FailureKind.UNREACHABLE


async def test_a_peer_that_does_not_answer_in_time_is_a_timeout() -> None:
    async def never(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Handler(answer=never)) as bob, calling(HASTY) as transport:
        with pytest.raises(TransportError, match="DEADLINE_EXCEEDED") as failure:
            await transport.send(bob, VOTE)
    assert failure.value.kind is FailureKind.TIMEOUT


async def test_heartbeats_have_the_deadline_of_votes_and_entries_another() -> None:
    async def never(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Handler(answer=never)) as bob, calling(Deadlines(control=0.1, append=30)) as transport:
        entries = asyncio.create_task(transport.send(bob, append(1)))
        for _ in range(2):
            with pytest.raises(TransportError) as failure:
                await transport.send(bob, AppendEntriesRequest(1, ALICE))
            assert failure.value.kind is FailureKind.TIMEOUT
        assert not entries.done()
        entries.cancel()
        await asyncio.wait([entries])


async def test_a_peer_without_the_method_is_unsupported() -> None:
    async with listening(chosen_engine()) as address, calling() as transport:
        with pytest.raises(TransportError) as failure:
            await transport.send(Server("bob", address), VOTE)
    assert failure.value.kind is FailureKind.UNSUPPORTED


async def test_an_error_of_the_peers_handler_is_a_rejection_with_its_message() -> None:
    async def down(request: Request) -> Response:
        raise ShutdownError

    async with serving(Handler(answer=down)) as bob, calling() as transport:
        with pytest.raises(TransportError, match="raft is already shutdown") as failure:
            await transport.send(bob, VOTE)
    assert failure.value.kind is FailureKind.REJECTED


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "the response is unreadable"),
        (pb.RequestVoteResponse(term=2**63).SerializeToString(), "the response makes no sense: impossible term"),
    ],
)
async def test_a_response_that_is_none_is_rejected(payload: bytes, reason: str) -> None:
    async with running(respond(payload)) as peer, calling() as transport:
        with pytest.raises(TransportError, match=f"^RequestVote to {peer.address}: {reason}") as failure:
            await transport.send(Server("bob", peer.address), VOTE)
    assert failure.value.kind is FailureKind.REJECTED


async def test_the_heartbeats_of_a_term_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[AppendEntriesRequest] = []
    encode = wire.encode_append_request

    def record(request: AppendEntriesRequest) -> pb.AppendEntriesRequest:
        encoded.append(request)
        return encode(request)

    monkeypatch.setattr(wire, "encode_append_request", record)
    handler = Handler()
    async with serving(handler) as bob, calling() as transport:
        for index in (1, 2):
            await transport.send(bob, AppendEntriesRequest(1, ALICE))
            await transport.send(bob, append(index))
        await transport.send(bob, AppendEntriesRequest(2, ALICE))
    assert encoded == [AppendEntriesRequest(1, ALICE), append(1), append(2), AppendEntriesRequest(2, ALICE)]
    assert len(handler.requests) == 5


async def test_nothing_small_waits_behind_appends_or_a_snapshot() -> None:
    async def snapshot() -> AsyncIterator[bytes]:
        yield bytes(1_000_000)

    async with running(ignore, grants=False) as peer, calling() as transport:
        bob = Server("bob", peer.address)
        send(transport.pipeline(bob), append(1))
        request = InstallSnapshotRequest(1, ALICE, 1, 1, Configuration(), 1, 1_000_000)
        installing = asyncio.create_task(transport.install_snapshot(bob, request, snapshot()))
        sending = asyncio.create_task(transport.send(bob, VOTE))
        await peer.until(lambda: len(peer.headers) == 3)
        assert peer.connections == 3
        await transport.close()
        for task in (installing, sending):
            with pytest.raises(TransportError) as failure:
                await task
            assert failure.value.kind is FailureKind.UNREACHABLE


async def test_a_message_that_makes_no_sense_is_refused_with_the_reason() -> None:
    handler = Handler()
    async with serving(handler) as bob, grpc.aio.insecure_channel(bob.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await RaftTransportStub(channel).RequestVote(pb.RequestVoteRequest(term=1))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.value.details() == "unsupported protocol version 0: this node speaks 2 to 3"
    assert handler.requests == []


async def test_a_peer_that_comes_back_is_found_again() -> None:
    async with calling() as transport:
        async with serving(Handler()) as bob:
            await transport.send(bob, VOTE)
        with pytest.raises(TransportError) as failure:
            await transport.send(bob, VOTE)
        assert failure.value.kind is FailureKind.UNREACHABLE
        async with serving(Handler(), bob.address):
            while True:
                try:
                    assert await transport.send(bob, VOTE) == yes(VOTE)
                except TransportError:
                    await asyncio.sleep(0.02)  # Until the channel tries to connect again.
                else:
                    break


async def test_a_cancelled_send_is_cancelled_and_not_a_failure() -> None:
    taken_in = asyncio.Event()

    async def never(request: Request) -> Response:
        taken_in.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Handler(answer=never)) as bob, calling() as transport:
        sending = asyncio.create_task(transport.send(bob, VOTE))
        await taken_in.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_close_fails_what_is_under_way_and_all_that_follows() -> None:
    taken_in = asyncio.Event()

    async def never(request: Request) -> Response:
        taken_in.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(Handler(answer=never)) as bob, calling() as transport:
        sending = asyncio.create_task(transport.send(bob, VOTE))
        await taken_in.wait()
        pipelined = send(transport.pipeline(bob), append(1))
        await transport.close()
        for call in (sending, pipelined):
            with pytest.raises(TransportError) as failure:
                await call
            assert failure.value.kind is FailureKind.UNREACHABLE
        with pytest.raises(TransportError, match="closed"):
            await transport.send(bob, VOTE)
        with pytest.raises(TransportError, match="closed"):
            transport.pipeline(bob)


async def test_close_leaves_no_pipeline_running() -> None:
    async with serving(Handler()) as bob, calling() as transport:
        used, unused, failing = transport.pipeline(bob), transport.pipeline(bob), transport.pipeline(absent())
        await send(used, append(1))
        send(failing, append(1))
        await transport.close()
        for pipeline in (used, unused, failing):
            assert isinstance(pipeline, GrpcPipeline)
            assert pipeline.closed.done()


async def test_an_rpc_before_there_is_a_handler_is_refused() -> None:
    async with serving_node(None) as (bob, _), calling() as transport:
        with pytest.raises(TransportError, match="raft is not running yet"):
            await transport.send(bob, VOTE)
        # A stream may end before its first request is sent, and then grpcio does not say why.
        with pytest.raises(TransportError, match=r"raft is not running yet|the peer ended the stream"):
            await send(transport.pipeline(bob), append(1))


class TestUntilDisconnected:
    async def test_returns_when_the_peer_goes(self) -> None:
        async with calling() as transport:
            async with serving(Handler()) as bob:
                watch = asyncio.create_task(transport.until_disconnected(bob.address))
                await transport.send(bob, VOTE)
                assert not watch.done()
            await watch

    async def test_waits_for_a_peer_that_is_not_there_yet(self) -> None:
        address = f"localhost:{free_port()}"
        async with calling() as transport:
            watch = asyncio.create_task(transport.until_disconnected(address))
            with pytest.raises(TransportError):
                await transport.send(Server("bob", address), VOTE)
            assert not watch.done()
            connected = asyncio.Event()

            async def answer(request: Request) -> Response:
                connected.set()
                return yes(request)

            async with serving(Handler(answer=answer), address) as bob:
                while not connected.is_set():
                    with contextlib.suppress(TransportError):
                        await transport.send(bob, VOTE)
                    await asyncio.sleep(0.02)  # Until the channel tries to connect again.
                assert not watch.done()
            await watch

    @pytest.mark.parametrize("connected", [True, False])
    async def test_fails_when_the_transport_is_closed(self, connected: bool) -> None:
        async with serving(Handler()) as bob, calling() as transport:
            to = bob if connected else absent()
            watch = asyncio.create_task(transport.until_disconnected(to.address))
            with contextlib.suppress(TransportError):
                await transport.send(to, VOTE)
            await transport.close()
            with pytest.raises(TransportError, match="closed"):
                await watch
            with pytest.raises(TransportError, match="closed"):
                await transport.until_disconnected(to.address)


class TestIsRefused:
    async def test_true_where_nobody_listens(self) -> None:
        async with calling() as transport:
            assert await transport.is_refused(absent().address)
            assert await transport.is_refused(f"localhost:{free_port()}")

    async def test_false_where_somebody_listens(self) -> None:
        async with serving(Handler()) as bob, calling() as transport:
            assert not await transport.is_refused(bob.address)

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
    async def test_false_if_one_of_the_hosts_addresses_accepts(
        self, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        async def both(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
            _, port = split_address(address)
            return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]

        monkeypatch.setattr("pyraft_lite.rpc.transport.resolve", both)
        async with calling() as transport:
            with socket.create_server((host, 0)) as listener:
                address = f"twofold:{listener.getsockname()[1]}"
                assert not await transport.is_refused(address)
            assert await transport.is_refused(address)

    @pytest.mark.parametrize("address", ["nowhere.invalid:1", "no port", "localhost:port", ""])
    async def test_false_for_an_address_that_leads_nowhere(self, address: str) -> None:
        async with calling() as transport:
            assert not await transport.is_refused(address)

    async def test_false_if_nothing_is_heard_in_time(self) -> None:
        # A listener whose backlog is full leaves new connections without an answer.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            place = listener.getsockname()
            with socket.create_connection(place):
                async with calling(HASTY) as transport:
                    assert not await transport.is_refused(f"127.0.0.1:{place[1]}")
