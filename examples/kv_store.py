"""One node of a replicated key-value store on pyraft_lite: the whole program, to read and to start from.

python examples/kv_store.py --id a --address localhost:50061 --data kv-data/a --bootstrap

Its clients call two gRPC methods with JSON for messages. ``/KeyValue/Write`` takes a command: ``["put", key, value]``
gives the value before, ``["compare_and_set", key, expected, value]`` whether it was as expected. ``/KeyValue/Read``
takes a key and gives its value. Keys and values are strings, null stands for no value.
"""

import asyncio
import contextlib
import json
import logging
import signal
from pathlib import Path
from typing import Any, BinaryIO

import click
import grpc
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import RaftError, StorageError
from pyraft_lite.core.messages import Peer
from pyraft_lite.process import run_process
from pyraft_lite.rpc.admin_service import AdminService
from pyraft_lite.rpc.client import RAFT_LEADER
from pyraft_lite.rpc.engine import CallContext, GenericHandler, new_engine
from pyraft_lite.rpc.health import LeaderHealth
from pyraft_lite.rpc.listening import ListenError
from pyraft_lite.rpc.pb.raft_admin_pb2_grpc import add_RaftAdminServicer_to_server
from pyraft_lite.rpc.pb.raft_transport_pb2_grpc import add_RaftTransportServicer_to_server
from pyraft_lite.rpc.status import abort_with
from pyraft_lite.rpc.transport import GrpcTransport
from pyraft_lite.runtime import Config, Raft, Settings, bootstrap_cluster, has_existing_state
from pyraft_lite.runtime.fsm import Sink
from pyraft_lite.storage import FileSnapshotStore, LmdbStore

DRAIN = 1.0
"""Seconds that calls under way get to end when the node stops."""


# -- the state machine ------------------------------------------------------------------------------------------------


class InvalidCommandError(Exception):
    """A command that no state machine of ours understands."""


class KeyValueStore:
    """The state machine: what the commands in the log make of an empty dictionary."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        """The value now. May be called while another thread applies: it is one look into one dictionary."""
        return self._values.get(key)

    def apply(self, entry: Entry) -> str | bool | InvalidCommandError | None:
        """Carries out a command; what it returns is for the client. An error is returned as well: raised, it would
        stop the node, and all others as they come to this entry."""
        match decode(entry.data):
            case ["put", str(key), str(value)]:
                before = self._values.get(key)
                self._values[key] = value
                return before
            case ["compare_and_set", str(key), (str() | None) as expected, str(value)]:
                matches = self._values.get(key) == expected
                if matches:
                    self._values[key] = value
                return matches
        return InvalidCommandError('want ["put", key, value] or ["compare_and_set", key, expected or null, value]')

    def snapshot(self) -> "KeyValueSnapshot":
        return KeyValueSnapshot(self._values.copy())

    def restore(self, source: BinaryIO) -> None:
        self._values = json.load(source)


class KeyValueSnapshot:
    """The store at one moment."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    def persist(self, sink: Sink) -> None:
        sink.write(json.dumps(self._values).encode())


def decode(data: bytes) -> Any:
    """What the JSON stands for; None if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# -- the service ------------------------------------------------------------------------------------------------------


class KeyValueService:
    """What clients call. Followers refuse: clients find the leader by its health."""

    def __init__(self, raft: Raft, store: KeyValueStore, *, lease_reads: bool) -> None:
        self._raft = raft
        self._store = store
        self._lease_reads = lease_reads

    @property
    def handler(self) -> GenericHandler:
        """For the server: method names, and what to do with the bytes that come."""
        return grpc.method_handlers_generic_handler(
            "KeyValue",
            {
                "Write": grpc.unary_unary_rpc_method_handler(self.write),
                "Read": grpc.unary_unary_rpc_method_handler(self.read),
            },
        )

    async def write(self, request: bytes, context: CallContext) -> bytes:
        """Answers when the command is committed and applied here."""
        try:
            applied = await self._raft.apply(request)
        except RaftError as error:
            # To do a command twice is not the same as doing it once: no client may repeat it by itself.
            await abort_with(context, error, retriable=False)
        if isinstance(applied.response, InvalidCommandError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(applied.response))
        return json.dumps(applied.response).encode()

    async def read(self, request: bytes, context: CallContext) -> bytes:
        """Answers with what every write that ended before the call has made of the value, or with something newer."""
        key = decode(request)
        if not isinstance(key, str):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "want a key, as a JSON string")
        try:
            await self._raft.read_index(lease=self._lease_reads)
        except RaftError as error:
            await abort_with(context, error, retriable=True)
        return json.dumps(self._store.get(key)).encode()


# -- the node ---------------------------------------------------------------------------------------------------------


async def run(config: Config, directory: Path, *, bootstrap: bool) -> None:
    """Runs a node until SIGTERM, SIGINT, or the end of its Raft.

    Raises:
        StorageError: the data can't be read or written, at the start or later.
        ListenError: the address is invalid, not of this machine, or taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async with contextlib.AsyncExitStack() as at_the_end:  # Last in, first out.
        store = at_the_end.enter_context(contextlib.closing(LmdbStore(directory)))
        snapshots = FileSnapshotStore(directory)
        if bootstrap and not has_existing_state(store, store, snapshots):
            this_node = Server(config.local_id, config.local_address)
            bootstrap_cluster(store, store, snapshots, Configuration((this_node,)))

        key_values = KeyValueStore()
        transport = GrpcTransport(Peer(config.local_id, config.local_address))
        raft = Raft(config, key_values, store, store, snapshots, transport)
        await raft.start()
        at_the_end.push_async_callback(raft.shutdown)

        service = KeyValueService(raft, key_values, lease_reads=config.settings.lease_reads)
        admin = AdminService(raft)
        health = LeaderHealth(raft, ["KeyValue", RAFT_LEADER])
        engine = new_engine("asyncio", DRAIN)
        engine.add_generic_rpc_handlers([service.handler])
        add_RaftAdminServicer_to_server(admin, engine)
        add_RaftTransportServicer_to_server(transport.service, engine)
        add_HealthServicer_to_server(health, engine)
        await engine.start(config.local_address)
        at_the_end.callback(admin.close)
        at_the_end.push_async_callback(engine.stop)
        at_the_end.callback(transport.service.close)
        at_the_end.callback(health.close)

        ended = asyncio.create_task(raft.wait_stopped())
        ended.add_done_callback(lambda _: stop.set())
        await stop.wait()
        with contextlib.suppress(RaftError):  # We do not lead, or there is nobody else to lead.
            await raft.leadership_transfer()
    if raft.failure:
        raise StorageError(raft.failure)


@click.command(context_settings={"show_default": True})
@click.option("--id", "node_id", required=True, help="The node's name in the cluster; never change it.")
@click.option("--address", required=True, metavar="HOST:PORT", help="Where peers and clients reach this node.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The node's own directory.")
@click.option("--bootstrap", is_flag=True, help="Begin a new cluster of this one node, unless it has data.")
@click.option("--lease-reads", is_flag=True, help="Trust the leader's lease for reads; on all nodes or on none.")
@click.option("--snapshot-every", type=click.IntRange(min=1), default=8192, metavar="ENTRIES", help="When it is due.")
def main(node_id: str, address: str, data: Path, bootstrap: bool, lease_reads: bool, snapshot_every: int) -> None:
    """Runs one node of a replicated key-value store. Add others to the cluster with raftadmin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        config = Config(
            local_id=node_id,
            local_address=address,
            settings=Settings(lease_reads=lease_reads, trailing_logs=snapshot_every),
            snapshot_threshold=snapshot_every,
            snapshot_interval=1.0,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        run_process(run(config, data, bootstrap=bootstrap))
    except (RaftError, ListenError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
