"""The client on connections of our own that follows the leader; see ``test_following`` for grpc's."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from h2_peer import OK, Http, Peer, Script, answer, respond, running
from peers import listening

from admin.scripted_raft import ScriptedRaft, serving
from client.test_following import PATIENCE, Words
from engines import chosen_engine
from pyraft_lite.core.entry import ENTRY_OVERHEAD
from pyraft_lite.core.errors import LeadershipLostError
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.grpc_connection import CallError
from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.leader_client import LeaderClient
from pyraft_lite.rpc.limits import MAX_COMMAND_BYTES
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import add_ExampleServicer_to_server
from pyraft_lite.runtime.api import State
from raftexample.local_cluster import free_ports

SERVING = frame(HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString())


def following(*addresses: str) -> LeaderClient:
    return LeaderClient("multi:///" + ",".join(addresses), "Example")


async def add(client: LeaderClient, word: str, timeout: float = PATIENCE) -> int:
    request = AddWordRequest(word=word).SerializeToString()
    return AddWordResponse.FromString(await client.call("/Example/AddWord", request, timeout=timeout)).commit_index


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets pauses take no time; records how long those between attempts should have been."""
    recorded: list[float] = []
    sleep = asyncio.sleep

    async def sleep_not(seconds: float) -> None:
        recorded.append(seconds)
        await sleep(0)

    monkeypatch.setattr("pyraft_lite.rpc.leader_client.asyncio.sleep", sleep_not)
    return recorded


# -- whom it calls -----------------------------------------------------------------------------------------------------


async def test_a_call_waits_no_longer_than_it_may_and_waiting_takes_no_attempts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raft, words = ScriptedRaft(State.FOLLOWER), Words()
    async with serving(raft, words) as address, following(address) as client:
        with pytest.raises(CallError) as late:
            await add(client, "too late", timeout=0.2)
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        raft.become(State.LEADER)
        await add(client, "in time")
    assert words.words == ["in time"]
    assert not caplog.records


async def test_nodes_without_health_checks_are_called_in_turn() -> None:
    here, there = Words(), Words()
    one, other = chosen_engine(), chosen_engine()
    add_ExampleServicer_to_server(here, one)
    add_ExampleServicer_to_server(there, other)
    async with listening(one) as first, listening(other) as second, following(first, second) as client:
        while not (here.words and there.words):
            await add(client, "word")


async def test_a_leader_that_ends_under_a_call_is_followed_by_the_next() -> None:
    old, new = ScriptedRaft(State.LEADER), ScriptedRaft(State.FOLLOWER)
    stuck, words = Words(asyncio.get_running_loop().create_future()), Words()
    async with serving(new, words) as second:
        async with serving(old, stuck) as first:
            client = following(first, second)
            await client.__aenter__()
            call = asyncio.create_task(add(client, "word"))
            await stuck.called.wait()
        new.become(State.LEADER)
        assert await call == 1
        await client.__aexit__()
    assert words.words == ["word"]


# -- attempts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        LeadershipLostError(),
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    ],
)
async def test_what_another_attempt_may_mend_is_tried_again(
    failure: Exception | grpc.StatusCode, pauses: list[float]
) -> None:
    words = Words(failure, failure, failure, failure)
    async with serving(ScriptedRaft(), words) as address, following(address) as client:
        assert await add(client, "word") == 1
    assert words.calls == 5


async def test_five_attempts_must_do_with_pauses_that_double(pauses: list[float]) -> None:
    words = Words(*[LeadershipLostError() for _ in range(6)])
    async with serving(ScriptedRaft(), words) as address, following(address) as client:
        with pytest.raises(CallError) as failed:
            await add(client, "word")
    assert failed.value.details == "leadership lost while committing log"
    assert words.calls == 5
    assert all(low <= pause <= low * 1.25 for low, pause in zip([0.1, 0.2, 0.4, 0.8], pauses, strict=True))


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ABORTED, grpc.StatusCode.UNKNOWN], ids=str
)
async def test_what_another_attempt_would_not_mend_fails_at_once(code: grpc.StatusCode) -> None:
    words = Words(code)
    async with serving(ScriptedRaft(), words) as address, following(address) as client:
        with pytest.raises(CallError) as failed:
            await add(client, "word")
    assert (failed.value.code, words.calls) == (code, 1)


async def test_the_last_failure_is_told_at_once_if_the_pause_would_outlast_the_timeout(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyraft_lite.rpc.client.FIRST_BACKOFF", PATIENCE)
    words = Words(LeadershipLostError())
    async with serving(ScriptedRaft(), words) as address, following(address) as client:
        with pytest.raises(CallError) as failed:
            await add(client, "word")
    assert failed.value.details == "leadership lost while committing log"
    assert (words.calls, pauses) == (1, [])


async def test_a_caller_that_is_cancelled_tries_no_more() -> None:
    words = Words(asyncio.get_running_loop().create_future())
    async with serving(ScriptedRaft(), words) as address, following(address) as client:
        call = asyncio.create_task(add(client, "word"))
        await words.called.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await add(client, "the next one") == 1
    assert words.calls == 2


# -- its connections ---------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def healthy(call: Script, streams: int | None = None) -> AsyncIterator[Peer]:
    """A peer that says that it is SERVING, and does as a script says with calls."""

    def script(http: Http, stream: int) -> None:
        if peer.headers[-1][b":path"] == b"/grpc.health.v1.Health/Watch":
            http.send_headers(stream, OK)
            http.send_data(stream, SERVING)
        else:
            call(http, stream)

    async with running(script, streams=streams) as peer:
        yield peer


async def test_no_more_calls_are_begun_than_the_peer_takes_streams() -> None:
    begun: list[int] = []
    async with healthy(lambda _, stream: begun.append(stream), streams=3) as peer, following(peer.address) as client:
        calls = [asyncio.create_task(add(client, "word")) for _ in range(6)]
        for count in range(2, 8):
            await peer.until(lambda count=count: len(begun) == min(count, 6))
            await exchange(peer)
            assert len(begun) == min(count, 6), "one stream is the watch"
            respond(b"")(peer.https[0], begun[count - 2])
            peer.flush()
        await asyncio.gather(*calls)


async def exchange(peer: Peer) -> None:
    """Returns when the client has answered a ping: all that it sent before has come."""
    pongs = peer.pongs
    peer.https[-1].ping(b"anything")
    peer.flush()
    await peer.until(lambda: peer.pongs > pongs)


async def test_a_node_that_says_goodbye_gets_no_further_calls_on_that_connection() -> None:
    async with healthy(respond(b"")) as peer, following(peer.address) as client:
        for count in (1, 2, 3):
            await add(client, "word")
            assert peer.connections == count
            peer.say_goodbye(last=3)
            await peer.until(lambda count=count: peer.closed == count)
        assert len(client._serving) <= 1


async def test_a_watch_that_fails_is_begun_again_after_a_pause(pauses: list[float]) -> None:
    failures = 8
    async with healthy(respond(b"")) as peer, following(peer.address) as client:
        well = peer.script

        def fails(http: Http, stream: int) -> None:
            script = well if peer.connections > failures else answer(*OK, (b"grpc-status", b"14"))
            script(http, stream)

        peer.script = fails
        await add(client, "word")
        assert peer.connections == failures + 1
        peer.say_goodbye(last=3)
        await peer.until(lambda: peer.closed == failures + 1)
        await add(client, "word")
    assert max(pauses) == 1.0
    assert [pause for pause in pauses if pause < 1.0] == [0.1, 0.2, 0.4, 0.8, 0.05]


async def test_whoever_leaves_leaves_no_connection_behind() -> None:
    async with healthy(respond(b"")) as peer:
        async with following(peer.address) as client:
            await add(client, "word")
            assert peer.connections == 1
        await peer.until(lambda: peer.closed == 1)
        assert not [task for task in asyncio.all_tasks() if "LeaderClient" in repr(task.get_coro())]


async def test_whoever_leaves_ends_the_calls_under_way() -> None:
    begun = asyncio.Event()
    async with healthy(lambda *_: begun.set()) as peer:
        async with following(peer.address) as client:
            call = asyncio.create_task(client.call("/Example/AddWord", b"", timeout=PATIENCE, attempts=1))
            await begun.wait()
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await call


# -- names -------------------------------------------------------------------------------------------------------------


@dataclass
class Names:
    """What hosts below ``.test`` stand for, and how often it is not known before that."""

    known: dict[str, list[str]] = field(default_factory=dict)
    failures: int = 0

    def look_up(self, host: str) -> list[str]:
        self.failures -= 1
        if self.failures >= 0 or host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.known[host]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names that a test gives; they are looked up anew after no time."""
    names = Names()
    really = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *others: Any, **more: Any) -> list[tuple[Any, ...]]:
        if not host.endswith(".test"):
            return really(host, port, *others, **more)  # type: ignore[return-value]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in names.look_up(host)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("pyraft_lite.rpc.leader_client._LAST_PAUSE", 0.01)
    return names


@pytest.mark.parametrize("target", ["dns:///nodes.test:{}", "multi:///nodes.test:{}", "nodes.test:{}"])
async def test_all_nodes_that_a_name_stands_for_are_followed(names: Names, target: str) -> None:
    names.known["nodes.test"] = ["127.0.0.1", "127.0.0.2"]
    port = free_ports(1)[0]
    leader, words = ScriptedRaft(), Words()
    async with (
        serving(ScriptedRaft(State.FOLLOWER), None, f"127.0.0.1:{port}"),
        serving(leader, words, f"127.0.0.2:{port}"),
        LeaderClient(target.format(port), "Example") as client,
    ):
        assert await add(client, "word") == 1


async def test_a_node_that_comes_back_at_another_address_is_found_by_its_name(names: Names) -> None:
    names.known["node.test"] = ["127.0.0.1"]
    port = free_ports(1)[0]
    async with serving(ScriptedRaft(), Words(), f"127.0.0.1:{port}"):
        client = LeaderClient(f"node.test:{port}", "Example")
        await client.__aenter__()
        await add(client, "before")
    names.known["node.test"] = ["127.0.0.2"]
    async with serving(ScriptedRaft(), Words(), f"127.0.0.2:{port}"):
        assert await add(client, "after") == 1
        await client.__aexit__()


async def test_a_single_name_may_become_known_later(names: Names) -> None:
    names.known["node.test"] = ["127.0.0.1"]
    names.failures = 3
    port = free_ports(1)[0]
    async with (
        serving(ScriptedRaft(), Words(), f"127.0.0.1:{port}"),
        LeaderClient(f"node.test:{port}", "Example") as client,
    ):
        assert await add(client, "word") == 1
    assert names.failures < 0


async def test_several_names_of_which_none_is_known_are_refused(names: Names) -> None:
    with pytest.raises(ValueError, match=r"^cannot resolve one\.test:1 or other\.test:2$"):
        await LeaderClient("multi:///one.test:1,other.test:2", "Example").__aenter__()


def test_a_bad_target_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid target 'nope'"):
        LeaderClient("nope", "Example")


def test_the_largest_command_is_the_cores() -> None:
    assert MAX_COMMAND_BYTES == MAX_MESSAGE_BYTES - ENTRY_OVERHEAD
