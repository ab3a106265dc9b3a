"""What can happen to a node: the inputs of :meth:`pyraft_lite.core.Core.step`.

Those that come with every write are named tuples, as such effects and messages are: Python makes them in a third of the
time that a frozen dataclass takes.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from pyraft_lite.core.configuration import Change
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.messages import Request, Response
from pyraft_lite.core.snapshot import SnapshotMeta

Token = Hashable
"""Names an operation or an incoming RPC; chosen by the caller, who gets it back with the outcome."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of :meth:`Core.deadline` has come."""


class Receive(NamedTuple):
    """A peer's request came in. Exactly one Respond or Refuse effect will carry ``rpc``, in this step or a later
    one."""

    rpc: Token
    request: Request


class RpcResponse(NamedTuple):
    """The answer to the Send or SendSnapshot effect of this ``rpc_id``."""

    rpc_id: int
    response: Response


@dataclass(frozen=True, slots=True)
class RpcFailed:
    """There will be no answer to ``rpc_id``.

    Attributes:
        unsupported: The peer answered that it does not know such a request.
    """

    rpc_id: int
    reason: str
    unsupported: bool = False


class Written(NamedTuple):
    """The Write effect of this ``seq``, and all before it, are durable."""

    seq: int


@dataclass(frozen=True, slots=True)
class Fatal:
    """A write failed, so that nobody knows what is durable, or the state machine did. The node must stop (R18)."""

    reason: str


class Proposal(NamedTuple):
    """A command or barrier a client wants in the log."""

    token: Token
    type: EntryType
    data: bytes = b""
    extensions: bytes = b""


class Propose(NamedTuple):
    """Proposals to append in this order; each ends with an Apply effect that names its token, or a Fail effect. Several
    may have one token, which is then named for each of them."""

    proposals: tuple[Proposal, ...]


@dataclass(frozen=True, slots=True)
class ChangeMembership:
    """Ends with Complete (the index of the configuration) or Fail."""

    token: Token
    change: Change


@dataclass(frozen=True, slots=True)
class TransferLeadership:
    """Hand leadership to ``server_id``, or to the most up-to-date voter if it is "" (R14). Ends with Complete or
    Fail."""

    token: Token
    server_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class ReadIndex:
    """Ends with ReadReady or Fail (R16). ``lease``: trust the leader lease if it holds."""

    token: Token
    lease: bool = False


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The runtime stored a snapshot of its own state machine."""

    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class SnapshotReceived:
    """The snapshot of a ReceiveSnapshot effect is stored and verified."""

    rpc: Token
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class SnapshotReceiveFailed:
    """The snapshot of a ReceiveSnapshot effect did not arrive whole; nothing of it is stored."""

    rpc: Token
    reason: str


@dataclass(frozen=True, slots=True)
class LeaderGone:
    """The stream from the peer at ``address`` broke and a new connection to it was refused: nobody is there (R19)."""

    address: str


@dataclass(frozen=True, slots=True)
class RestoreState:
    """The user wants a snapshot of theirs to replace the state of the cluster. Leads to StoreRestore, or Fail."""

    token: Token


@dataclass(frozen=True, slots=True)
class RestoreStored:
    """The snapshot of a StoreRestore effect is stored."""

    token: Token
    meta: SnapshotMeta


@dataclass(frozen=True, slots=True)
class RestoreFailed:
    """The snapshot of a StoreRestore effect could not be stored."""

    token: Token
    reason: str


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The user stops the node."""


Event = (
    Tick
    | Receive
    | RpcResponse
    | RpcFailed
    | Written
    | Fatal
    | Propose
    | ChangeMembership
    | TransferLeadership
    | ReadIndex
    | SnapshotTaken
    | SnapshotReceived
    | SnapshotReceiveFailed
    | LeaderGone
    | RestoreState
    | RestoreStored
    | RestoreFailed
    | Shutdown
)
