"""A real node is sent what a leader on hashicorp/raft 1.7 was recorded to send, and meets one that speaks as it does:
with pre-votes, the sender in every header, and heartbeats that overtake the disk."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from raft_cluster import QUICK, Member, WatchedStore

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.messages import AppendEntriesRequest, Peer
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import (
    RaftTransportServicer,
    RaftTransportStub,
    add_RaftTransportServicer_to_server,
)
from pyraft_lite.runtime import Settings, State
from pyraft_lite.storage import configuration_codec
from raftexample.local_cluster import free_ports

RECORDED = (Path(__file__).parent.parent / "data" / "wire-vectors.txt").read_text()

SILENT = Settings(heartbeat_timeout=600, election_timeout=600, leader_lease_timeout=600)
"""For a node that never stands for election by itself."""


def recorded() -> list[tuple[str, Any]]:
    """The names and messages of the recording, in order; the one whose bytes were cut off is left out."""
    found = re.findall(r"^## (\S+) #\d+ len=(\d+)\n.*\nhex=([0-9a-f]+)$", RECORDED, re.MULTILINE)
    messages = []
    for name, length, digits in found:
        kind = getattr(pb, re.sub(r"^(AppendEntries).*", r"\1", name).removesuffix("-msg") + "Request")
        if len(digits) == 2 * int(length):
            messages.append((name, kind.FromString(bytes.fromhex(digits))))
    return messages


def sessions() -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """The two parts: a cluster's first terms, and a node that is brought up to date by a snapshot."""
    messages = recorded()
    second = next(at for at, (_, message) in enumerate(messages) if getattr(message, "prev_log_entry", 0) > 20_000)
    return messages[:second], messages[second:]


@contextlib.asynccontextmanager
async def running(directory: Path, settings: Settings = SILENT, **more: Any) -> AsyncIterator[tuple[Member, Any]]:
    """A node without any log, and a connection to it."""
    (port,) = free_ports(1)
    member = Member("us", f"127.0.0.1:{port}", directory, settings, **more)
    await member.start()
    try:
        async with grpc.aio.insecure_channel(member.address) as channel:
            yield member, RaftTransportStub(channel)
    finally:
        await member.stop()


async def test_the_recorded_session_goes_as_it_went(tmp_path: Path) -> None:
    first, _ = sessions()
    async with running(tmp_path) as (member, stub):
        # The beginning of the log is in the message that was cut off: any will do.
        servers = (*(Server(f"node{n}", f"localhost:5005{p}") for p, n in enumerate("ABC", 1)), Server("us", "us:1"))
        entries = [Entry(1, 1, EntryType.CONFIGURATION, configuration_codec.encode(Configuration(servers)))]
        entries += [Entry(index, 2, EntryType.COMMAND, b"early") for index in range(2, 9)]
        leader = Peer("nodeA", "localhost:50051")
        await stub.AppendEntries(wire.encode_append_request(AppendEntriesRequest(2, leader, 0, 0, tuple(entries), 8)))

        last = 8
        pipeline = stub.AppendEntriesPipeline(None)
        for name, message in first[first.index(next(entry for entry in first if "Pipeline" in entry[0])) :]:
            match name:
                case "AppendEntriesPipeline-empty" | "AppendEntriesPipeline-entries":
                    await pipeline.write(message)
                    answer = await pipeline.read()
                    last = max(last, *(entry.index for entry in message.entries)) if message.entries else last
                    assert (answer.success, answer.term, answer.last_log) == (True, message.term, last), message
                case "AppendEntries-unary" | "AppendEntries-heartbeat":
                    answer = await stub.AppendEntries(message)
                    assert (answer.success, answer.term, answer.last_log) == (True, message.term, last), message
                case "RequestVote":  # One is a transfer, the other of the node that leads already.
                    answer = await stub.RequestVote(message)
                    assert (answer.granted, answer.term) == (True, message.term), message
                case "RequestPreVote":
                    answer = await stub.RequestPreVote(message)
                    assert (answer.granted, answer.term) == (False, 3), "there is a live leader"
                case "TimeoutNow":
                    pass  # This was for the node that led afterwards.
                case other:
                    raise AssertionError(other)
        await member.until_applied(10)
        assert member.journal.commands == [b"early"] * 7 + [b"pipelined"]
        assert (member.raft.last_index, member.raft.stats()["term"]) == (12, "4")
        assert (member.raft.leader.id, member.raft.leader.address) == ("nodeB", "localhost:50052")


async def test_the_recorded_snapshot_brings_a_new_node_up_to_date(tmp_path: Path) -> None:
    _, second = sessions()
    async with running(tmp_path) as (member, stub):
        (_, ahead), *rest = second
        answer = await stub.AppendEntries(ahead)
        assert (answer.success, answer.last_log, answer.no_retry_backoff) == (False, 0, True)
        snapshot = [message for name, message in rest if name == "InstallSnapshot-msg"]
        assert (await stub.InstallSnapshot(iter(snapshot))).success
        assert (await stub.AppendEntries(next(m for name, m in rest if name == "AppendEntries-unary"))).success
        pipeline = stub.AppendEntriesPipeline(None)
        for name, message in rest:
            if name.startswith("AppendEntriesPipeline"):
                await pipeline.write(message)
                assert (await pipeline.read()).success
            elif name == "AppendEntries-heartbeat":
                assert (await stub.AppendEntries(message)).success
        await member.until_applied(20_510)
        assert b"\n".join(member.journal.commands) == snapshot[1].data
        assert len(member.raft.configuration.servers) == 4


async def test_a_heartbeat_is_answered_while_an_append_waits_for_the_disk(tmp_path: Path) -> None:
    _, heartbeat = next(entry for entry in recorded() if entry[0] == "AppendEntries-heartbeat")
    async with running(tmp_path, make_store=WatchedStore) as (member, stub):
        assert (await stub.AppendEntries(heartbeat)).success
        store = member.store
        assert isinstance(store, WatchedStore)
        store.gate.clear()
        entry = Entry(1, 2, EntryType.COMMAND, b"slow")
        leader = Peer("nodeA", "localhost:50051")
        append = stub.AppendEntries(wire.encode_append_request(AppendEntriesRequest(2, leader, 0, 0, (entry,))))
        while member.raft.last_index == 0:  # noqa: ASYNC110 - nothing tells of it from outside
            await asyncio.sleep(0.005)
        try:
            assert (await stub.AppendEntries(heartbeat)).success
            assert not append.done()
        finally:
            store.gate.set()
        assert (await append).success


@dataclass
class GoVoter(RaftTransportServicer):
    """A voter as hashicorp/raft 1.7 is one: grants what it is asked for, under its own id and address."""

    header: pb.RPCHeader = field(default_factory=pb.RPCHeader)
    heard: list[Any] = field(default_factory=list)
    last_log: int = 0
    led: asyncio.Event = field(default_factory=asyncio.Event)

    async def RequestPreVote(self, request: Any, context: Any) -> pb.RequestPreVoteResponse:
        self.heard.append(request)
        # It repeats the term it was asked for, though it is not yet in it.
        return pb.RequestPreVoteResponse(rpc_header=self.header, term=request.term, granted=True)

    async def RequestVote(self, request: Any, context: Any) -> pb.RequestVoteResponse:
        self.heard.append(request)
        return pb.RequestVoteResponse(rpc_header=self.header, term=request.term, granted=True)

    async def AppendEntries(self, request: Any, context: Any) -> pb.AppendEntriesResponse:
        self.heard.append(request)
        success = request.prev_log_entry <= self.last_log
        if success:
            self.last_log = max([self.last_log, *(entry.index for entry in request.entries)])
        if any(entry.type == pb.Log.LOG_NOOP for entry in request.entries):
            self.led.set()
        return pb.AppendEntriesResponse(
            rpc_header=self.header, term=request.term, last_log=self.last_log, success=success, no_retry_backoff=True
        )

    async def AppendEntriesPipeline(self, requests: Any, context: Any) -> AsyncIterator[pb.AppendEntriesResponse]:
        async for request in requests:
            yield await self.AppendEntries(request, context)


@pytest.mark.parametrize("handover", [False, True], ids=["after its leader fell silent", "on TimeoutNow"])
async def test_our_candidate_is_elected_by_such_a_voter_and_leads_it(tmp_path: Path, handover: bool) -> None:
    voter = GoVoter()
    server = grpc.aio.server()
    add_RaftTransportServicer_to_server(voter, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    voter.header.MergeFrom(pb.RPCHeader(protocol_version=3, id=b"voter", addr=address.encode()))
    try:
        async with running(tmp_path, SILENT if handover else QUICK) as (member, stub):
            servers = (Server("gone", "127.0.0.1:1"), Server("voter", address), Server("us", member.address))
            entry = Entry(1, 2, EntryType.CONFIGURATION, configuration_codec.encode(Configuration(servers)))
            request = AppendEntriesRequest(2, Peer("gone", "127.0.0.1:1"), 0, 0, (entry,), 1)
            assert (await stub.AppendEntries(wire.encode_append_request(request))).success
            if handover:
                leader = pb.RPCHeader(protocol_version=3, id=b"gone", addr=b"127.0.0.1:1")
                await stub.TimeoutNow(pb.TimeoutNowRequest(rpc_header=leader))
            await member.until(lambda now: now.state is State.LEADER)
            await asyncio.wait_for(voter.led.wait(), 30)
            assert (await member.raft.apply(b"a word")).index == 3
    finally:
        await server.stop(0)
    pre_votes = [message for message in voter.heard if isinstance(message, pb.RequestPreVoteRequest)]
    votes = [message for message in voter.heard if isinstance(message, pb.RequestVoteRequest)]
    assert bool(pre_votes) is not handover, "a transfer needs no pre-vote"
    assert votes
    assert all(message.leadership_transfer is handover for message in votes)
    for message in voter.heard:
        header = message.rpc_header
        assert (header.protocol_version, header.id, header.addr) == (3, b"us", member.address.encode())
