"""The RPCs of hashicorp/raft's protocol version 3, as plain values. How they look on the wire is not the core's
business."""

from dataclasses import dataclass
from typing import NamedTuple

from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.entry import Entry


class Peer(NamedTuple):
    """Who sent a message: ``id`` is empty if the sender is of hashicorp/raft 1.1-1.2, which does not say."""

    id: str
    address: str


class AppendEntriesRequest(NamedTuple):
    """Entries to append after ``(prev_index, prev_term)``; with everything but term and sender zero, a heartbeat."""

    term: int
    sender: Peer
    prev_index: int = 0
    prev_term: int = 0
    entries: tuple[Entry, ...] = ()
    leader_commit: int = 0

    @property
    def is_heartbeat(self) -> bool:
        """True for the message that proves leadership and says nothing of the log (R5)."""
        return not (self.prev_index or self.prev_term or self.entries or self.leader_commit)


class AppendEntriesResponse(NamedTuple):
    """``last_log`` is the follower's last index, a hint after a rejection (R8)."""

    term: int
    last_log: int
    success: bool
    no_retry_backoff: bool = False


@dataclass(frozen=True, slots=True)
class RequestVoteRequest:
    """``leadership_transfer`` asks voters to disregard that they know a live leader (R2, R14)."""

    term: int
    sender: Peer
    last_index: int
    last_term: int
    leadership_transfer: bool = False


@dataclass(frozen=True, slots=True)
class RequestVoteResponse:
    term: int
    granted: bool


@dataclass(frozen=True, slots=True)
class RequestPreVoteRequest:
    """Would you vote for me in ``term``? Asking and granting change nothing (R2)."""

    term: int
    sender: Peer
    last_index: int
    last_term: int


@dataclass(frozen=True, slots=True)
class RequestPreVoteResponse:
    term: int
    granted: bool


@dataclass(frozen=True, slots=True)
class TimeoutNowRequest:
    """Start an election at once, without a pre-vote (R14).

    Attributes:
        term: The sender's term; 0 if it does not say, as hashicorp/raft.
    """

    sender: Peer
    term: int = 0


@dataclass(frozen=True, slots=True)
class TimeoutNowResponse:
    pass


@dataclass(frozen=True, slots=True)
class InstallSnapshotRequest:
    """The head of a snapshot transfer; ``size`` bytes of state follow it on the same stream."""

    term: int
    sender: Peer
    last_index: int
    last_term: int
    configuration: Configuration
    configuration_index: int
    size: int


@dataclass(frozen=True, slots=True)
class InstallSnapshotResponse:
    term: int
    success: bool


Request = AppendEntriesRequest | RequestVoteRequest | RequestPreVoteRequest | TimeoutNowRequest | InstallSnapshotRequest
Response = (
    AppendEntriesResponse | RequestVoteResponse | RequestPreVoteResponse | TimeoutNowResponse | InstallSnapshotResponse
)
