"""The node: wires stores, transport, Raft and the word tracker together, and takes them down in order."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from grpc_health.v1 import health_pb2_grpc

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.errors import CantBootstrapError, RaftError, StorageError
from pyraft_lite.core.messages import Peer
from pyraft_lite.rpc.address import is_loopback
from pyraft_lite.rpc.admin_service import AdminService
from pyraft_lite.rpc.engine import new_engine
from pyraft_lite.rpc.health import LeaderHealth
from pyraft_lite.rpc.limited import ServiceLimits
from pyraft_lite.rpc.pb import example_pb2_grpc, raft_admin_pb2_grpc, raft_transport_pb2_grpc
from pyraft_lite.rpc.reflection import add_reflection
from pyraft_lite.rpc.transport import GrpcTransport
from pyraft_lite.runtime import Config, Raft, State, bootstrap_cluster, read_peers_json, recover_cluster
from pyraft_lite.runtime.limit import Limit
from pyraft_lite.storage import FileSnapshotStore, LmdbStore
from raftexample.application import ExampleService, WordTracker
from raftexample.forwarding import LeaderForwarder

logger = logging.getLogger("raft-example")

SERVICES = ("Example", "RaftAdmin", "RaftTransport", "grpc.health.v1.Health")
LEADER_SERVICES = ("Example", "quis.RaftLeader")
"""Health names that are SERVING on the leader only."""

DRAIN = 1.0
"""Seconds that calls under way get to end when the node stops."""

LAST_QUESTIONS = 1.0
"""Seconds that a node that ends because Raft was shut down waits for whoever wants to know how that went."""

DEFAULT_MAX_CALLS = 512
"""What is done in about a tenth of a second; more would wait longer and be done no sooner. Half of what the engines let
one connection have under way, so that a client whose calls are too many hears of it."""

MAX_STREAMS = 64
"""How many AddWords are under way at a time; what comes beyond is refused."""

MAX_ADMIN_CALLS = 256
MAX_HEALTH_CALLS = 128
MAX_WATCHES = 1024
"""As many calls of RaftAdmin, health checks, and watches of health. Every client watches every node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """What a node is started with.

    Attributes:
        raft: The Raft node's own configuration; its id and address name the node.
        listen: Where to listen, ``host:port``.
        data_dir: The directory that holds one directory per node id.
        bootstrap: Begin a new cluster of this one node.
        forward_to_leader: Pass writes and linearizable reads on to the leader.
        exit_on_shutdown: End the process when Raft is shut down by ``raftadmin shutdown`` or by removal.
        grpc_engine: What serves the port, one of ``available_engines()``.
        max_calls: How many AddWord and GetWords are under way at a time; what comes beyond is refused.
    """

    raft: Config
    listen: str
    data_dir: Path
    bootstrap: bool = False
    forward_to_leader: bool = False
    exit_on_shutdown: bool = False
    grpc_engine: str
    max_calls: int = DEFAULT_MAX_CALLS

    @property
    def directory(self) -> Path:
        """Where this node keeps its data."""
        return self.data_dir / self.raft.local_id


async def run_node(options: NodeOptions) -> None:
    """Runs a node until SIGTERM or SIGINT, then hands leadership over and stops (R20).

    Raises:
        StorageError: the data can't be read or written, at the start or later, or the state machine failed.
        RaftError: peers.json or the first configuration is not valid.
        ListenError: the address to listen on is invalid, not of this machine, or taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = LmdbStore(options.directory)
    try:
        snapshots = FileSnapshotStore(options.directory)
        _prepare(options, store, snapshots)
        tracker = WordTracker()
        transport = GrpcTransport(Peer(options.raft.local_id, options.raft.local_address))
        raft = Raft(options.raft, tracker, store, store, snapshots, transport)
        await raft.start()
        try:
            async with _serving(options, raft, tracker, transport) as admin:
                await _until_stopped(raft, stop, options.exit_on_shutdown)
                if stop.is_set():
                    await _hand_over(raft)
                else:  # Whoever shut it down, or removed it, asks for the outcome with a second call.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(admin.until_asked(), LAST_QUESTIONS)
        finally:
            await raft.shutdown()
        if raft.failure:
            raise StorageError(raft.failure)
    finally:
        store.close()


def _prepare(options: NodeOptions, store: LmdbStore, snapshots: FileSnapshotStore) -> None:
    """Recovers from peers.json if there is one, then bootstraps if asked to."""
    peers_json = options.directory / "peers.json"
    if peers_json.exists():
        configuration = read_peers_json(peers_json)
        logger.warning("recovering the cluster from %s: %s", peers_json, configuration.describe())
        recover_cluster(WordTracker(), store, store, snapshots, configuration)
        peers_json.unlink()
    if options.bootstrap:
        this_node = Server(options.raft.local_id, options.raft.local_address)
        try:
            bootstrap_cluster(store, store, snapshots, Configuration((this_node,)))
        except CantBootstrapError:
            logger.warning("--raft_bootstrap has no effect: %s already has state", options.directory)


@contextlib.asynccontextmanager
async def _serving(
    options: NodeOptions, raft: Raft, tracker: WordTracker, transport: GrpcTransport
) -> AsyncIterator[AdminService]:
    """Serves everything on one port; at the end takes no more calls and lets those under way end."""
    engine = new_engine(options.grpc_engine, DRAIN)
    health = LeaderHealth(raft, LEADER_SERVICES)
    forwarder = LeaderForwarder() if options.forward_to_leader else None
    example = ExampleService(raft, tracker, forwarder)
    admin = AdminService(raft)
    for service, calls, streams in (
        ("Example", options.max_calls, MAX_STREAMS),
        ("RaftAdmin", MAX_ADMIN_CALLS, 0),
        ("grpc.health.v1.Health", MAX_HEALTH_CALLS, MAX_WATCHES),
    ):
        engine.limit_service(service, ServiceLimits(Limit("calls", calls), Limit("streams", streams)))
    example_pb2_grpc.add_ExampleServicer_to_server(example, engine)
    raft_admin_pb2_grpc.add_RaftAdminServicer_to_server(admin, engine)
    raft_transport_pb2_grpc.add_RaftTransportServicer_to_server(transport.service, engine)
    health_pb2_grpc.add_HealthServicer_to_server(health, engine)
    add_reflection(engine, SERVICES)
    if not is_loopback(options.listen):
        logger.warning(
            "listening on %s in plaintext: whoever reaches it can read and change everything", options.listen
        )
    await engine.start(options.listen)
    try:
        yield admin
    finally:
        health.close()
        example.close()
        transport.service.close()
        await engine.stop()
        admin.close()
        if forwarder is not None:
            await forwarder.close()


async def _until_stopped(raft: Raft, stop: asyncio.Event, exit_on_shutdown: bool) -> None:
    """Returns on a signal, when storage failed, or, if so wished, when Raft is shut down otherwise."""
    signalled = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(raft.wait_stopped())
    await asyncio.wait((signalled, ended), return_when=asyncio.FIRST_COMPLETED)
    if not (signalled.done() or raft.failure or exit_on_shutdown):
        await signalled
    for task in (signalled, ended):
        task.cancel()


async def _hand_over(raft: Raft) -> None:
    """A leader that stops leaves the cluster another one, if it can (R20)."""
    if raft.state is not State.LEADER or len(raft.configuration.voters) < 2:
        return
    try:
        await raft.leadership_transfer()
    except RaftError as error:
        logger.warning("could not hand over leadership before stopping: %s", error)
