"""Clusters in which some nodes are ours and some are hashicorp/raft's."""

import contextlib
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

import engines
from pyraft_lite.core.state import State
from pyraft_lite.rpc.pb import example_pb2, raft_admin_pb2
from raftexample.local_cluster import LocalCluster, LocalClusterError, LocalNode, free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
GO_PEER = ROOT / "build" / "interop" / "bin" / "peer"
GO_ADMIN = ROOT / "build" / "interop" / "bin" / "admin"
LOG_NODE = Path(__file__).parent / "log_node.py"

PATIENT = (
    *("--heartbeat_timeout", "1s"),
    *("--election_timeout", "1s"),
    *("--leader_lease_timeout", "1s"),
)
"""The default timeouts, but for a leader that does not give up so soon when the machine is busy."""

SLOW_TO_STEP_DOWN = (
    *("--heartbeat_timeout", "4s"),
    *("--election_timeout", "4s"),
    *("--leader_lease_timeout", "4s"),
)
"""For a leader that is to go on leading for a while though it is alone."""

OPERATION_TIMEOUT = 20.0

M = TypeVar("M", bound=Message)


def is_go(name: str) -> bool:
    """What a node runs is in its name: ``go1``, ``py1``."""
    return name.startswith("go")


class MixedCluster(LocalCluster):
    """Nodes whose names begin with ``go`` run hashicorp/raft, the others ours.

    Args:
        directory: Where data and logs go.
        names: The nodes' ids.
        flags: Further flags for every node; both programs know the same.
        every_word: Whether the state machine keeps every word, so that :meth:`check` can tell what was lost; else it is
            the word tracker.
        of: Further flags for some nodes.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str],
        flags: Sequence[str] = PATIENT,
        *,
        every_word: bool = True,
        of: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(directory, names, flags)
        self._every_word = every_word
        self._of = of or {}
        self.runs: dict[str, str] = {}
        """Ids of nodes that run what another name stands for."""

    def command(self, node: LocalNode) -> list[str]:
        if is_go(self.runs.get(node.name, node.name)):
            program = [str(GO_PEER), "--fsm", "log" if self._every_word else "words"]
        else:
            script = [str(LOG_NODE)] if self._every_word else ["-m", "raftexample.cmd.raft_example"]
            program = [sys.executable, *script, "--grpc_engine", engines.chosen]
        return [
            *program,
            *("--raft_id", node.name, "--address", node.address, "--raft_data_dir", str(self.directory)),
        ]

    def start(self, name: str, *flags: str) -> None:
        super().start(name, *self._of.get(name, ()), *flags)

    def plan(self, name: str) -> LocalNode:
        """Adds a node that is not a member yet, to be started later."""
        (port,) = free_ports(1)
        self.nodes[name] = LocalNode(name, f"127.0.0.1:{port}", self.directory / f"{name}.log")
        return self.nodes[name]

    def form(self) -> None:
        """Starts all nodes and makes them one cluster, led by the first."""
        first, *others = self.nodes
        self.start(first, "--raft_bootstrap")
        self.wait_for(lambda: self.state(first) is State.LEADER, f"{first} leads")
        for name in others:
            self.start(name)
            self.add_voter(name)

    # -- processes ----------------------------------------------------------------------------------------------------

    def freeze(self, name: str) -> None:
        """Stops a process as it stands; nothing it is sent is lost, as the kernel takes it."""
        self._running(name).send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Lets a frozen process go on."""
        self._running(name).send_signal(signal.SIGCONT)

    # -- operations ---------------------------------------------------------------------------------------------------

    def add_voter(self, name: str) -> int:
        """Has the leader add a node; returns the index of the configuration."""
        return self.operate(self.leader(), "AddVoter", id=name, address=self.nodes[name].address)

    def remove(self, name: str) -> int:
        """Has the leader remove a node."""
        return self.operate(self.leader(), "RemoveServer", id=name)

    def transfer(self, to: str) -> None:
        """Hands leadership to a node; returns when it leads.

        hashicorp/raft may send TimeoutNow before the target has everything, and then the target is not elected. So this
        is asked for until it goes well.
        """

        def leads() -> bool:
            leader = self.leader()
            if leader != to:
                with contextlib.suppress(LocalClusterError):
                    self.operate(leader, "LeadershipTransferToServer", id=to, address=self.nodes[to].address)
            return self.leader() == to

        self.wait_for(leads, f"{to} leads")

    def operate(self, node: str, method: str, /, **fields: Any) -> int:
        """Carries out an operation of RaftAdmin on this very node; returns its index.

        Raises:
            LocalClusterError: it failed.
        """
        request = getattr(raft_admin_pb2, f"{method}Request")(**fields)
        token = self.call(node, f"/RaftAdmin/{method}", request, raft_admin_pb2.Future)
        outcome = self.call(node, "/RaftAdmin/Await", token, raft_admin_pb2.AwaitResponse)
        if outcome.error:
            raise LocalClusterError(f"{method} on {node}: {outcome.error}")
        return outcome.index

    def propose(self, node: str, word: str) -> None:
        """Has a node append a word; returns without waiting for its commit."""
        self.call(
            node, "/RaftAdmin/ApplyLog", raft_admin_pb2.ApplyLogRequest(data=word.encode()), raft_admin_pb2.Future
        )

    def add_word(self, node: str, word: str) -> int:
        """AddWord on this very node; returns the commit index, raises grpc.RpcError."""
        request = example_pb2.AddWordRequest(word=word)
        return self.call(node, "/Example/AddWord", request, example_pb2.AddWordResponse).commit_index

    def stats(self, node: str) -> dict[str, str]:
        """A node's counters and states."""
        response = self.call(node, "/RaftAdmin/Stats", raft_admin_pb2.StatsRequest(), raft_admin_pb2.StatsResponse)
        return dict(response.stats)

    def last_index(self, node: str) -> int:
        """The index of the last entry in a node's log, committed or not."""
        request = raft_admin_pb2.LastIndexRequest()
        return self.call(node, "/RaftAdmin/LastIndex", request, raft_admin_pb2.LastIndexResponse).index

    def suffrages(self, node: str) -> dict[str, str]:
        """The members, as a node knows them, and what each is."""
        request = raft_admin_pb2.GetConfigurationRequest()
        response = self.call(node, "/RaftAdmin/GetConfiguration", request, raft_admin_pb2.GetConfigurationResponse)
        suffrage = raft_admin_pb2.GetConfigurationResponse.Server.Suffrage
        return {server.id: suffrage.Name(server.suffrage) for server in response.servers}

    def call(self, node: str, method: str, request: Message, response: type[M]) -> M:
        """Calls any method of a node."""
        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        with grpc.insecure_channel(self.nodes[node].address, options=options) as channel:
            stub = channel.unary_unary(
                method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
            )
            answer: M = stub(request, timeout=OPERATION_TIMEOUT)
            return answer

    # -- questions ----------------------------------------------------------------------------------------------------

    def wait_for_words(self, *among: str) -> list[str]:
        """Waits until these nodes (all that run, if none is named) have the leader's words, and returns them.

        An entry that says so is appended first: a new leader may not know yet that what it has is committed.
        """
        names = among or tuple(name for name, node in self.nodes.items() if node.is_running)
        self.operate(self.leader(), "Barrier")
        words = self.words(self.leader())
        for name in names:
            self.wait_until_has(name, words)
        return words

    def wait_until_has(self, node: str, words: list[str]) -> None:
        """Waits until a node has exactly these words."""
        self.wait_for(lambda: self.words(node) == words, f"{node} has the same words")

    def wait_until_up(self, node: str) -> None:
        """Waits until a node answers."""
        self.wait_for(lambda: self.state(node) is not None, f"{node} answers")

    def wait_until_at(self, node: str, index: int) -> None:
        """Waits until a node has applied the entry at ``index``."""
        self.wait_for(lambda: (self.applied_index(node) or 0) >= index, f"{node} has applied {index}")

    def leader_among(self, names: Sequence[str]) -> str | None:
        """Which of these nodes leads, if one does; a frozen leader still thinks so too."""
        return next((name for name in names if self.state(name) is State.LEADER), None)

    def snapshots(self, node: str) -> list[dict[str, Any]]:
        """The descriptions of the snapshots in a node's directory."""
        metas = sorted((self.directory / node / "snapshots").glob("*/meta.json"))
        return [json.loads(meta.read_text()) for meta in metas]
