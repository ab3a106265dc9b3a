"""Snapshots on their way between disk and network: read ahead, written behind, and never much of them in memory."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.effects import ReceiveSnapshot, SendSnapshot, StoreRestore
from pyraft_lite.core.errors import RaftError, StorageError
from pyraft_lite.core.events import (
    Event,
    RestoreFailed,
    RpcFailed,
    RpcResponse,
    SnapshotReceived,
    SnapshotReceiveFailed,
)
from pyraft_lite.core.messages import InstallSnapshotRequest, InstallSnapshotResponse, Peer
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.snapshots import CHUNK_BYTES, WAITING_BYTES, Snapshots
from pyraft_lite.storage import FileSnapshotStore
from pyraft_lite.storage.interfaces import SnapshotSink, SnapshotSource
from pyraft_lite.storage.snapshots import FileSnapshotSink

PATIENCE = 10.0
CONFIGURATION = Configuration((Server("a", "a.test:1"),))


def request(size: int) -> InstallSnapshotRequest:
    return InstallSnapshotRequest(3, Peer("a", "a.test:1"), 9, 2, CONFIGURATION, 5, size)


class GatedSink:
    """A sink whose writes wait for :attr:`gate`."""

    def __init__(self, store: "GatedStore", sink: SnapshotSink) -> None:
        self._store = store
        self._sink = sink

    @property
    def id(self) -> str:
        return self._sink.id

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        assert data, "nothing is to be written"
        self._store.writing.set()
        self._store.gate.wait()
        if b"bad" in bytes(data):
            raise StorageError("the disk is full")
        size = self._sink.write(data)
        self._store.writing.clear()
        return size

    def close(self) -> SnapshotMeta:
        return self._sink.close()

    def cancel(self) -> None:
        self._store.cancelled_amid_write |= self._store.writing.is_set() and not self._store.gate.is_set()
        self._sink.cancel()


class GatedStore(FileSnapshotStore):
    """A store on a disk that takes its time."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.gate = threading.Event()
        self.gate.set()
        self.writing = threading.Event()
        self.cancelled_amid_write = False

    def create(self, *, index: int, term: int, configuration: Configuration, configuration_index: int) -> SnapshotSink:
        sink = super().create(
            index=index, term=term, configuration=configuration, configuration_index=configuration_index
        )
        return GatedSink(self, sink)


class SlowPeer:
    """In place of a transport: takes a snapshot in, a chunk whenever it is let."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(0)
        self.taken: list[bytes] = []

    async def install_snapshot(
        self, to: Server, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes]
    ) -> InstallSnapshotResponse:
        async for chunk in chunks:
            await self.turn.acquire()
            self.taken.append(chunk)
        return InstallSnapshotResponse(3, True)


async def seen(condition: "asyncio.Event | threading.Event") -> None:
    await (condition.wait() if isinstance(condition, asyncio.Event) else asyncio.to_thread(condition.wait))


async def at_once() -> None:
    """A state machine that has nothing to restore."""


def receiver(store: FileSnapshotStore) -> tuple[Snapshots, list[Event]]:
    posted: list[Event] = []
    return Snapshots(store, SlowPeer(), posted.append, at_once), posted  # type: ignore[arg-type]


def state(store: FileSnapshotStore) -> bytes:
    _, source = store.open(store.list()[0].id)
    with source:
        return source.read()


async def test_what_comes_is_written_whole_and_in_order(tmp_path: Path) -> None:
    store = GatedStore(tmp_path)
    node, posted = receiver(store)
    pieces = [bytes([number % 256]) * (number * 97) for number in range(1, 200)]

    async def chunks() -> AsyncIterator[bytes]:
        for number, piece in enumerate(pieces):
            if number % 3 == 0:
                await asyncio.sleep(0)
            yield piece

    await node.receive(ReceiveSnapshot(None, request(sum(map(len, pieces)))), chunks())
    assert [type(event) for event in posted] == [SnapshotReceived]
    assert state(store) == b"".join(pieces)


async def test_while_the_disk_is_slow_only_so_much_is_taken_in(tmp_path: Path) -> None:
    store = GatedStore(tmp_path)
    node, posted = receiver(store)
    store.gate.clear()
    piece = bytes(WAITING_BYTES // 8)
    taken = 0
    stuck = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(40):
            taken += 1
            if taken == 2:
                await seen(store.writing)
            if taken > 8:
                asyncio.get_running_loop().call_soon(stuck.set)
            yield piece

    receiving = asyncio.create_task(node.receive(ReceiveSnapshot(None, request(40 * len(piece))), chunks()))
    await seen(stuck)
    assert 8 <= taken <= 10, "one is being written, and so many wait"
    store.gate.set()
    await receiving
    assert [type(event) for event in posted] == [SnapshotReceived]
    assert state(store) == bytes(40 * len(piece))


async def test_what_is_written_already_is_not_followed_by_a_write_of_nothing(tmp_path: Path) -> None:
    store = GatedStore(tmp_path)
    node, posted = receiver(store)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"all"

    await node.receive(ReceiveSnapshot(None, request(3)), chunks())
    assert [type(event) for event in posted] == [SnapshotReceived]
    assert state(store) == b"all"


async def test_more_comes_in_while_what_has_waited_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, posted = receiver(FileSnapshotStore(tmp_path))
    allowed = threading.Semaphore(0)
    write = FileSnapshotSink.write

    def write_when_allowed(sink: FileSnapshotSink, data: bytes | bytearray | memoryview) -> int:
        assert allowed.acquire(timeout=PATIENCE), "nothing more came"
        return write(sink, data)

    monkeypatch.setattr(FileSnapshotSink, "write", write_when_allowed)
    piece = bytes(WAITING_BYTES // 8)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        for _ in range(7):
            yield piece
        allowed.release()  # For the first: the eight that have waited, one write, wait for more to come.
        yield piece
        allowed.release(2)
        yield piece

    await node.receive(ReceiveSnapshot(None, request(5 + 9 * len(piece))), chunks())
    assert [type(event) for event in posted] == [SnapshotReceived]


@pytest.mark.parametrize("last", [True, False])
async def test_a_write_that_fails_behind_fails_the_snapshot(tmp_path: Path, last: bool) -> None:
    store = GatedStore(tmp_path)
    node, posted = receiver(store)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"good"
        yield b"bad"
        while not last:
            await asyncio.sleep(0)
            yield b"good"

    await node.receive(ReceiveSnapshot(None, request(7)), chunks())
    assert posted == [SnapshotReceiveFailed(None, "the disk is full")]
    assert not list((tmp_path / "snapshots").iterdir())


@pytest.mark.parametrize("end", ["cancelled", "broken"])
async def test_a_snapshot_is_given_up_only_when_nothing_of_it_is_being_written(tmp_path: Path, end: str) -> None:
    store = GatedStore(tmp_path)
    node, _ = receiver(store)
    store.gate.clear()
    begun = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        await seen(store.writing)
        begun.set()
        if end == "broken":
            raise RuntimeError("the stream broke")
        await asyncio.Event().wait()

    receiving = asyncio.create_task(node.receive(ReceiveSnapshot(None, request(9)), chunks()))
    await seen(begun)
    if end == "cancelled":
        receiving.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not receiving.done()
    store.gate.set()
    await asyncio.wait([receiving])
    assert not store.cancelled_amid_write
    assert not list((tmp_path / "snapshots").iterdir())


@pytest.mark.parametrize(("held", "stored"), [("create", 0), ("close", 1)])
async def test_what_a_cancelled_receiver_has_a_thread_do_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str, stored: int
) -> None:
    store = FileSnapshotStore(tmp_path)
    node, _ = receiver(store)
    gate, reached = threading.Event(), threading.Event()
    owner = FileSnapshotStore if held == "create" else FileSnapshotSink
    function = getattr(owner, held)

    def slow(self: object, **arguments: Any) -> Any:
        reached.set()
        gate.wait()
        return function(self, **arguments)

    monkeypatch.setattr(owner, held, slow)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"all of it"

    receiving = asyncio.create_task(node.receive(ReceiveSnapshot(None, request(9)), chunks()))
    await seen(reached)
    receiving.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    done_early = receiving.done()
    gate.set()
    await asyncio.wait([receiving])
    assert not done_early
    assert receiving.cancelled()
    assert len(list((tmp_path / "snapshots").iterdir())) == len(store.list()) == stored


class CountedReads(io.BytesIO):
    """A stored state that says how often it was read; :attr:`closed_early` if it was closed while a read went on."""

    reads = 0
    reading = False
    closed_early = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.reading = True
        self.reads += 1
        data = super().read(size)
        self.reading = False
        return data

    def close(self) -> None:
        self.closed_early |= self.reading
        super().close()


class StoreOf(FileSnapshotStore):
    def __init__(self, directory: Path, source: CountedReads) -> None:
        super().__init__(directory)
        self.source = source

    def stream(self, snapshot_id: str) -> SnapshotSource:  # type: ignore[override]
        return self.source


async def test_the_next_piece_is_read_while_one_is_sent_and_no_more(tmp_path: Path) -> None:
    content = bytes(range(256)) * (5 * CHUNK_BYTES // 256) + b"end"
    source = CountedReads(content)
    peer = SlowPeer()
    posted: list[Event] = []
    node = Snapshots(StoreOf(tmp_path, source), peer, posted.append, at_once)  # type: ignore[arg-type]
    sending = asyncio.create_task(node.send(SendSnapshot(1, Server("b", "b.test:1"), request(len(content)), "2-9-1")))
    for sent in range(6):
        while source.reads < sent + 2:  # noqa: ASYNC110 - it is read on another thread
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert source.reads == sent + 2
        peer.turn.release()
        while len(peer.taken) <= sent:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await sending
    assert b"".join(peer.taken) == content
    assert posted == [RpcResponse(1, InstallSnapshotResponse(3, True))]
    assert source.closed
    assert not source.closed_early


async def test_sending_that_is_cancelled_closes_the_state_when_it_is_read_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = CountedReads(bytes(5 * CHUNK_BYTES))
    gate, reached = threading.Event(), threading.Event()
    read = source.read

    def slow_read(size: int | None = -1, /) -> bytes:
        if source.reads == 1:
            source.reading = True
            reached.set()
            gate.wait()
        return read(size)

    monkeypatch.setattr(source, "read", slow_read)
    node = Snapshots(StoreOf(tmp_path, source), SlowPeer(), lambda _: None, at_once)  # type: ignore[arg-type]
    sending = asyncio.create_task(node.send(SendSnapshot(1, Server("b", "b.test:1"), request(9), "2-9-1")))
    await seen(reached)
    sending.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not source.closed
    gate.set()
    await asyncio.wait([sending])
    assert sending.cancelled()
    assert source.closed
    assert not source.closed_early


async def test_a_peer_never_gets_the_whole_of_a_damaged_snapshot(tmp_path: Path) -> None:
    store = FileSnapshotStore(tmp_path)
    sink = store.create(index=9, term=2, configuration=CONFIGURATION, configuration_index=5)
    sink.write(bytes(2 * CHUNK_BYTES + 1))
    meta = sink.close()
    with (tmp_path / "snapshots" / meta.id / "state.bin").open("r+b") as file:
        file.write(b"!")
    peer = SlowPeer()
    for _ in range(3):
        peer.turn.release()
    posted: list[Event] = []
    node = Snapshots(store, peer, posted.append, at_once)  # type: ignore[arg-type]
    await node.send(SendSnapshot(1, Server("b", "b.test:1"), request(meta.size), meta.id))
    assert [len(chunk) for chunk in peer.taken] == [CHUNK_BYTES, CHUNK_BYTES]
    (failed,) = posted
    assert isinstance(failed, RpcFailed)
    assert f"{meta.id} is damaged: its checksum is" in failed.reason


class SlowMachine:
    """A state machine that has restored what it is told to when :attr:`gate` is set."""

    def __init__(self) -> None:
        self.posted: list[Event] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waited_for = asyncio.Event()

    def post(self, event: Event) -> None:
        """In place of the core: takes everything up."""
        assert self.gate.is_set(), "the one before is not restored yet"
        self.posted.append(event)
        self.gate.clear()

    async def until_restored(self) -> None:
        if not self.gate.is_set():
            self.waited_for.set()
        await self.gate.wait()


async def empty() -> AsyncIterator[bytes]:
    for chunk in ():
        yield chunk


@pytest.mark.parametrize("what", ["received", "a user's", "discarded"])
async def test_nothing_pushes_out_a_snapshot_that_waits_to_be_restored(tmp_path: Path, what: str) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # one thing after the other
    store = FileSnapshotStore(tmp_path, retain=2)
    machine = SlowMachine()
    node = Snapshots(store, SlowPeer(), machine.post, machine.until_restored)  # type: ignore[arg-type]
    await node.receive(ReceiveSnapshot(None, request(0)), empty())
    (first,) = store.list()
    waiting = asyncio.create_task(node.receive(ReceiveSnapshot(None, request(0)), empty()))
    await machine.waited_for.wait()
    match what:
        case "received":
            other = node.receive(ReceiveSnapshot(None, request(0)), empty())
        case "a user's":
            other = node.store_restore(StoreRestore(None, 10, 3, CONFIGURATION, 5), io.BytesIO(b"state"))
        case _:
            other = node.discard(first.id)
    behind = asyncio.create_task(other)
    for _ in range(3):
        await asyncio.to_thread(lambda: None)  # did it not wait, the first would be gone by now
    assert list(store.list()) == [first]
    assert len(machine.posted) == 1
    for work in (waiting, behind):
        machine.gate.set()
        await work
    assert len(machine.posted) == (2 if what == "discarded" else 3)
    assert first not in store.list()


async def test_a_state_machine_that_has_failed_takes_no_more_snapshots(tmp_path: Path) -> None:
    async def until_restored() -> None:
        raise RaftError("the state machine has failed")

    store = FileSnapshotStore(tmp_path)
    posted: list[Event] = []
    node = Snapshots(store, SlowPeer(), posted.append, until_restored)  # type: ignore[arg-type]
    await node.receive(ReceiveSnapshot(None, request(0)), empty())
    await node.store_restore(StoreRestore(7, 10, 3, CONFIGURATION, 5), io.BytesIO(b"state"))
    assert posted == [
        SnapshotReceiveFailed(None, "the state machine has failed"),
        RestoreFailed(7, "failed to store the snapshot to restore: the state machine has failed"),
    ]
    assert not store.list()
    assert not list((tmp_path / "snapshots").iterdir())
