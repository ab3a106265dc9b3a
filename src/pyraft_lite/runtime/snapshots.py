"""Moves snapshots between the state machine, the store and peers. The bytes are handled on threads, in chunks, a few of
which are in memory: the next is read from disk while one is sent, and the next comes in while one is written."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from typing import BinaryIO, TypeVar

from pyraft_lite.core.effects import ReceiveSnapshot, SendSnapshot, StoreRestore
from pyraft_lite.core.errors import NothingToSnapshotError, RaftError, StorageError
from pyraft_lite.core.events import (
    Event,
    RestoreFailed,
    RestoreStored,
    RpcFailed,
    RpcResponse,
    SnapshotReceived,
    SnapshotReceiveFailed,
)
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.fsm import FSMSnapshot
from pyraft_lite.runtime.transport import Transport, TransportError
from pyraft_lite.storage.interfaces import SnapshotSink, SnapshotSource, SnapshotStore

T = TypeVar("T")

CHUNK_BYTES = 1024 * 1024
"""How much is read at a time."""

WAITING_BYTES = 4 * 1024 * 1024
"""How much may have come in and wait until what came before it is written."""


class Snapshots:
    """What a node does with snapshots, each operation on its own."""

    def __init__(
        self,
        store: SnapshotStore,
        transport: Transport,
        post: Callable[[Event], None],
        until_restored: Callable[[], Awaitable[None]],
    ) -> None:
        """``until_restored`` waits while the state machine has a stored snapshot to restore."""
        self._store = store
        self._transport = transport
        self._post = post
        self._until_restored = until_restored
        self._lock = asyncio.Lock()

    def list(self) -> "list[SnapshotMeta]":
        """The stored snapshots, newest first."""
        return [*self._store.list()]

    async def discard(self, snapshot_id: str) -> None:
        """Removes a stored snapshot that nobody took up.

        Raises:
            StorageError: it can't be removed.
        """
        async with self._lock:
            await asyncio.to_thread(self._store.delete, snapshot_id)

    async def take(self, frozen: FSMSnapshot, index: int, describe: Callable[[int], SnapshotMeta]) -> SnapshotMeta:
        """Stores the frozen state, which is that after ``index``.

        Raises:
            RaftError: nothing is applied yet, the state was replaced meanwhile, or it can't be written.
        """
        if index == 0:
            raise NothingToSnapshotError
        return await asyncio.to_thread(self._persist, frozen, describe(index))

    def _persist(self, frozen: FSMSnapshot, point: SnapshotMeta) -> SnapshotMeta:
        sink = self._create(point)
        try:
            frozen.persist(sink)
            return sink.close()
        except RaftError:
            raise
        except Exception as error:
            # Whatever a user's state machine raises: this snapshot is lost, the node goes on.
            raise RaftError(f"failed to persist snapshot: {type(error).__name__}: {error}") from error
        finally:
            sink.cancel()

    def _create(self, point: SnapshotMeta) -> SnapshotSink:
        return self._store.create(
            index=point.index,
            term=point.term,
            configuration=point.configuration,
            configuration_index=point.configuration_index,
        )

    async def send(self, effect: SendSnapshot) -> None:
        """Streams a stored snapshot to a peer."""
        try:
            source = await asyncio.to_thread(self._store.stream, effect.snapshot_id)
            with closing(source):
                async with aclosing(_read_ahead(source)) as chunks:
                    response = await self._transport.install_snapshot(effect.to, effect.request, chunks)
        except (TransportError, StorageError) as error:
            self._post(RpcFailed(effect.rpc_id, str(error)))
        else:
            self._post(RpcResponse(effect.rpc_id, response))

    async def receive(self, effect: ReceiveSnapshot, chunks: AsyncIterator[bytes]) -> None:
        """Stores a snapshot that a peer streams to us; nothing of it remains unless it is whole (R15)."""
        request = effect.request
        point = SnapshotMeta(
            "", request.last_index, request.last_term, request.configuration, request.configuration_index, 0
        )
        async with AsyncExitStack() as end:

            def create() -> SnapshotSink:
                sink = self._create(point)
                end.callback(sink.cancel)
                return sink

            try:
                sink = await _to_its_end(create)
                size = await _write_behind(sink, chunks)
                if size != request.size:
                    raise RaftError(f"snapshot has {size} bytes, {request.size} were announced")
                await end.enter_async_context(self._turn())
                meta = await _to_its_end(sink.close)
            except Exception as error:
                # Of the store, or whatever the transport says of a stream that breaks or lies.
                self._post(SnapshotReceiveFailed(effect.rpc, str(error)))
            else:
                self._post(SnapshotReceived(effect.rpc, meta))

    async def store_restore(self, effect: StoreRestore, source: BinaryIO) -> None:
        """Stores a user's snapshot under the index the core chose for it."""
        point = SnapshotMeta("", effect.index, effect.term, effect.configuration, effect.configuration_index, 0)
        async with AsyncExitStack() as end:
            try:
                sink = await asyncio.to_thread(self._create, point)
                end.callback(sink.cancel)
                await asyncio.to_thread(shutil.copyfileobj, source, sink, CHUNK_BYTES)
                await end.enter_async_context(self._turn())
                meta = await asyncio.to_thread(sink.close)
            except (RaftError, OSError) as error:
                self._post(RestoreFailed(effect.token, f"failed to store the snapshot to restore: {error}"))
            else:
                self._post(RestoreStored(effect.token, meta))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Holds back whoever has a newer state to store until the one before is restored: the store drops old
        snapshots as new ones come, and must not drop that."""
        async with self._lock:
            await self._until_restored()
            yield


async def _to_its_end(function: Callable[[], T]) -> T:
    """What ``function`` returns, from a thread. Who is cancelled meanwhile goes on only when it has ended, too."""
    work = asyncio.create_task(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    finally:
        await asyncio.wait((work,))
        work.exception()  # nobody else may ask for it


async def _read_ahead(source: SnapshotSource) -> AsyncGenerator[bytes, None]:
    """What ``source`` holds, in chunks; must be closed before ``source`` is."""

    def read() -> "asyncio.Task[bytes]":
        return asyncio.create_task(asyncio.to_thread(source.read, CHUNK_BYTES))

    reading = read()
    try:
        while chunk := await asyncio.shield(reading):
            reading = read()
            yield chunk
    finally:
        await asyncio.wait((reading,))
        reading.exception()  # nobody else may ask for it


async def _write_behind(sink: SnapshotSink, chunks: AsyncIterator[bytes]) -> int:
    """Writes ``chunks``, while further ones come in; returns how many bytes they are. However this ends, nothing is
    being written any more then."""
    size = waiting_bytes = 0
    waiting: list[bytes] = []
    loop = asyncio.get_running_loop()
    writing: asyncio.Future[None] = loop.create_future()
    writing.set_result(None)
    try:
        async for chunk in chunks:
            size += len(chunk)
            waiting.append(chunk)
            waiting_bytes += len(chunk)
            if writing.done() or waiting_bytes >= WAITING_BYTES:
                await asyncio.shield(writing)
                # Now, not by a task: this one may find more chunks without letting another have its turn.
                writing = loop.run_in_executor(None, _write_all, sink, waiting)
                waiting, waiting_bytes = [], 0
        await asyncio.shield(writing)
        if waiting:
            writing = loop.run_in_executor(None, _write_all, sink, waiting)
            await asyncio.shield(writing)
    finally:
        await asyncio.wait((writing,))
        writing.exception()
    return size


def _write_all(sink: SnapshotSink, chunks: Sequence[bytes]) -> None:
    # To copy them takes less than to wait for the interpreter after the write of each.
    sink.write(b"".join(chunks))
