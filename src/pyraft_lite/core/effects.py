"""What a node wants done: the outputs of :meth:`pyraft_lite.core.Core.step`.

The runtime carries them out in the order given, none of them waiting for a later one: first each Send, as the peers'
writes begin only when they hear of them, then the Write, then the rest. Writes are made durable in order of ``seq``,
and FSM work (Apply, RestoreSnapshot) is done in order; else there is no order between disk, network and FSM.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.events import Token
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    InstallSnapshotRequest,
    RequestPreVoteRequest,
    RequestVoteRequest,
    Response,
    TimeoutNowRequest,
)
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.core.state import HardState, State


@dataclass(slots=True)
class Write:
    """Make durable, as one atomic step: the hard state, then the truncation, then the entries. Answered by
    Written(seq). The core adds to it until the step ends, and nobody changes it after that."""

    seq: int
    hard_state: HardState | None = None
    truncate_from: int | None = None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class CompactLog:
    """Delete entries up to and including ``to_index`` when convenient; nothing waits for it."""

    to_index: int


class Channel(Enum):
    """How a request travels: on its own, or on the peer's stream of appends, which keeps order."""

    UNARY = "unary"
    STREAM = "stream"


class Send(NamedTuple):
    """Send a request; answered by exactly one RpcResponse or RpcFailed of this ``rpc_id``."""

    rpc_id: int
    to: Server
    request: AppendEntriesRequest | RequestVoteRequest | RequestPreVoteRequest | TimeoutNowRequest
    channel: Channel = Channel.UNARY


@dataclass(frozen=True, slots=True)
class SendSnapshot:
    """Send the stored snapshot ``snapshot_id``; answered as Send is."""

    rpc_id: int
    to: Server
    request: InstallSnapshotRequest
    snapshot_id: str


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close the append stream to this peer, if there is one."""

    to: Server


class Respond(NamedTuple):
    """Answer an incoming RPC. What the answer promises is durable already."""

    rpc: Token
    response: Response


@dataclass(frozen=True, slots=True)
class Refuse:
    """End an incoming RPC with an error."""

    rpc: Token
    error: RaftError


@dataclass(frozen=True, slots=True)
class ReceiveSnapshot:
    """Store the snapshot that follows on this RPC's stream, verify it, report SnapshotReceived or
    SnapshotReceiveFailed."""

    rpc: Token
    request: InstallSnapshotRequest


@dataclass(frozen=True, slots=True)
class RestoreSnapshot:
    """Replace the state of the FSM by this stored snapshot."""

    meta: SnapshotMeta


class Apply(NamedTuple):
    """Everything up to ``to_index`` is committed: apply it. ``waiting`` names who proposed which index here."""

    to_index: int
    waiting: tuple[tuple[int, Token], ...] = ()


@dataclass(frozen=True, slots=True)
class StoreRestore:
    """Store the user's snapshot under this index, term and configuration; report RestoreStored or RestoreFailed."""

    token: Token
    index: int
    term: int
    configuration: Configuration
    configuration_index: int


@dataclass(frozen=True, slots=True)
class DiscardSnapshot:
    """Remove this stored snapshot: it is of a restore that failed, and must not be what the node starts with next
    time."""

    snapshot_id: str


@dataclass(frozen=True, slots=True)
class Complete:
    """An operation succeeded; ``index`` is that of its entry, where it has one."""

    token: Token
    index: int = 0


@dataclass(frozen=True, slots=True)
class ReadReady:
    """A read is linearizable as soon as ``index`` is applied."""

    token: Token
    index: int


@dataclass(frozen=True, slots=True)
class Fail:
    """An operation failed."""

    token: Token
    error: RaftError


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """The state, the term or the known leader changed. The leader's fields are empty if none is known."""

    state: State
    term: int
    leader_id: str
    leader_address: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The node is in state SHUTDOWN; no effects follow but DiscardSnapshot. ``reason`` is empty unless storage failed
    (R18)."""

    reason: str = ""


class Level(Enum):
    """How much a note matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the log; the wording follows hashicorp/raft's."""

    level: Level
    message: str
    fields: dict[str, object] = field(default_factory=dict)


Effect = (
    Write
    | CompactLog
    | Send
    | SendSnapshot
    | CloseStream
    | Respond
    | Refuse
    | ReceiveSnapshot
    | RestoreSnapshot
    | Apply
    | StoreRestore
    | DiscardSnapshot
    | Complete
    | ReadReady
    | Fail
    | RoleChanged
    | Stopped
    | Note
)
