"""A cluster of node processes on this machine's loopback, for demonstrations and tests."""

import contextlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from pyraft_lite.core.state import State
from pyraft_lite.rpc.pb import example_pb2, raft_admin_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)

PATIENCE = 30.0
"""Seconds to wait for what should take a moment, before it counts as failed."""

POLL = 0.02
RPC_TIMEOUT = 2.0


class LocalClusterError(Exception):
    """Something did not happen that should have; the message says what, and where the logs are."""


@dataclass(slots=True)
class LocalNode:
    """One node: its process, if it runs, and where it writes its log."""

    name: str
    address: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


class LocalCluster:
    """Starts, kills and asks nodes. A context manager: at its end no process is left.

    A subclass may run another program, if that serves RaftAdmin.

    Args:
        directory: Where data and logs go.
        names: The nodes' ids.
        flags: Further flags for every node's program.
    """

    bootstrap_flag = "--raft_bootstrap"

    def __init__(
        self, directory: Path, names: Sequence[str] = ("nodeA", "nodeB", "nodeC"), flags: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.flags = tuple(flags)
        directory.mkdir(parents=True, exist_ok=True)
        self.nodes = {
            name: LocalNode(name, f"127.0.0.1:{port}", directory / f"{name}.log")
            for name, port in zip(names, free_ports(len(names)), strict=True)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            if node.process is not None:
                node.process.kill()
                node.process.wait()

    @property
    def target(self) -> str:
        """All nodes, as clients take it."""
        return "multi:///" + ",".join(node.address for node in self.nodes.values())

    # -- processes ------------------------------------------------------------------------------------------------

    def command(self, node: LocalNode) -> list[str]:
        """How to run a node."""
        return [
            *program("raft_example"),
            *("--raft_id", node.name, "--address", node.address, "--raft_data_dir", str(self.directory)),
        ]

    def start(self, name: str, *flags: str) -> None:
        """Starts a node and returns once it serves; ``flags`` are for this start only."""
        self.launch(name, *flags)
        self.wait_until_serving(name)

    def launch(self, name: str, *flags: str) -> None:
        """Starts a node and returns at once."""
        node = self.nodes[name]
        command = [*self.command(node), *self.flags, *flags]
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_serving(self, name: str) -> None:
        """Waits until a node that was launched answers."""
        self.wait_for(lambda: self._serves(self.nodes[name]), f"{name} serves")

    def form(self) -> None:
        """Starts all nodes and makes them one cluster."""
        first, *others = self.nodes
        self.start(first, self.bootstrap_flag)
        for name in others:
            self.start(name)
        self.leader()
        for name in others:
            self.wait_for(partial(self._adds, name), f"{name} is a voter")

    def kill(self, name: str) -> None:
        """Ends a node as a power cut would."""
        process = self._running(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """Asks a node to stop (SIGTERM); returns its exit code."""
        process = self._running(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE)

    def raftadmin(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs ``raftadmin`` to its end."""
        return subprocess.run(
            [*program("raftadmin"), *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def check_raftadmin(self, *arguments: str) -> str:
        """Runs ``raftadmin``; returns what it printed, raises LocalClusterError if it failed."""
        result = self.raftadmin(*arguments)
        if result.returncode:
            raise LocalClusterError(f"raftadmin {' '.join(arguments)} failed:\n{result.stderr}")
        return result.stderr

    def start_hammer(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts ``hammer`` against this cluster."""
        command = [*program("hammer"), "--target", self.target, *arguments]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    # -- questions ------------------------------------------------------------------------------------------------

    def channel(self, name: str) -> grpc.Channel:
        """A new channel to a node, for the caller to close: one that is kept tries a node that was down too late."""
        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        return grpc.insecure_channel(self.nodes[name].address, options=options)

    def leader(self) -> str:
        """The name of the leader, once there is one."""
        return self.wait_for(self._find_leader, "there is a leader")

    def state(self, name: str) -> State | None:
        """What a node is, None if it does not answer."""
        with contextlib.suppress(grpc.RpcError):
            response = self._ask(name, "/RaftAdmin/State", raft_admin_pb2.StateRequest(), raft_admin_pb2.StateResponse)
            return State(response.state)
        return None

    def applied_index(self, name: str) -> int | None:
        """What a node has applied, None if it does not answer."""
        with self.channel(name) as channel:
            return applied_index(channel)

    def words(self, name: str) -> list[str]:
        """The three longest words, as this node has them."""
        request = example_pb2.GetWordsRequest()
        response = self._ask(name, "/Example/GetWords", request, example_pb2.GetWordsResponse, PATIENCE)
        return list(response.best_words)

    def wait_until_equal(self) -> int:
        """Waits until all nodes have applied the same index as the leader's last; returns it."""

        def agreed() -> int | None:
            indexes = {self.applied_index(name) for name in self.nodes}
            return indexes.pop() if len(indexes) == 1 else None

        return self.wait_for(agreed, "all nodes have applied the same")

    def wait_for(self, condition: Callable[[], T | None], what: str) -> T:
        """What ``condition`` returns, once that is true.

        Raises:
            LocalClusterError: it did not become true in time, or a node died.
        """
        give_up = time.monotonic() + PATIENCE
        while not (value := condition()):
            if time.monotonic() > give_up:
                raise LocalClusterError(f"waited {PATIENCE:g} s in vain until {what}; see {self.directory}/*.log")
            time.sleep(POLL)
        return value

    def _find_leader(self) -> str | None:
        running = (name for name, node in self.nodes.items() if node.is_running)
        return next((name for name in running if self.state(name) is State.LEADER), None)

    def _serves(self, node: LocalNode) -> bool:
        if not node.is_running:
            raise LocalClusterError(f"{node.name} ended at once:\n{node.log.read_text()}")
        return self.state(node.name) is not None

    def _running(self, name: str) -> "subprocess.Popen[bytes]":
        process = self.nodes[name].process
        if process is None or process.poll() is not None:
            raise LocalClusterError(f"{name} does not run")
        return process

    def _adds(self, name: str) -> bool:
        """Makes a node a voter; False if the leader was lost over it, so that it is to be done again."""
        try:
            self.check_raftadmin("--leader", self.target, "add_voter", name, self.nodes[name].address, "0")
        except LocalClusterError as error:
            if not re.search(r'Response: error: "(node is not the leader|leadership lost)', str(error)):
                raise
            return False
        return True

    def _ask(self, name: str, method: str, request: Message, response: type[M], timeout: float = RPC_TIMEOUT) -> M:
        with self.channel(name) as channel:
            return ask(channel, method, request, response, timeout)


def ask(channel: grpc.Channel, method: str, request: Message, response: type[M], timeout: float = RPC_TIMEOUT) -> M:
    """What a node answers.

    Args:
        channel: The node's.
        method: ``/Service/Method``.
        request: What to ask.
        response: The kind of answer.
        timeout: Seconds it has.

    Raises:
        grpc.RpcError: it does not.
    """
    call = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )
    answer: M = call(request, timeout=timeout)
    return answer


def applied_index(channel: grpc.Channel) -> int | None:
    """What the node of this channel has applied, None if it does not answer."""
    request = raft_admin_pb2.AppliedIndexRequest()
    with contextlib.suppress(grpc.RpcError):
        return ask(channel, "/RaftAdmin/AppliedIndex", request, raft_admin_pb2.AppliedIndexResponse).index
    return None


def program(name: str) -> list[str]:
    """How to run one of the three programs with this interpreter."""
    return [sys.executable, "-m", f"raftexample.cmd.{name}"]


def free_ports(count: int) -> list[int]:
    """Ports on the loopback that nobody listens on, and that no connection will have while their node is down."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            # Systems give connections ports above these.
            each, port = held.enter_context(socket.socket()), random.randrange(15_000, 32_000)
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", port))
                ports.append(port)
    return ports
