"""What a leader knows of one other server (dissertation 3.5, and as a state machine in 10.2.1)."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from pyraft_lite.core.configuration import Server


class Mode(Enum):
    """How the server is being brought up to date."""

    PROBE = "probe"
    """One message at a time, until it is known where the logs match."""
    STREAM = "stream"
    """Messages one after the other, without waiting for answers."""
    SNAPSHOT = "snapshot"
    """It needs entries that are compacted: a snapshot is under way."""


class Purpose(Enum):
    """Why a request was sent."""

    HEARTBEAT = "heartbeat"
    APPEND = "append"
    SNAPSHOT = "snapshot"


class Sent(NamedTuple):
    """A request that is not answered yet.

    Attributes:
        at: When it was sent.
        prev_index, last_index: Of an append, what it follows and where it ends; of a snapshot, its last index twice.
        commit: Up to where who accepts it knows the log to be committed.
    """

    purpose: Purpose
    at: float
    prev_index: int = 0
    last_index: int = 0
    commit: int = 0


@dataclass(slots=True)
class Progress:
    """The replication to one server.

    Attributes:
        next: The index of the next entry to send.
        match: The log is known to be the same as ours up to here, durably.
        contact: When the latest answered request was sent: the server took us for the leader no earlier than that.
        confirmed: The greatest rpc id it has answered.
        sent: What it has not answered yet, by rpc id; changed by :meth:`remember` and :meth:`take` alone.
        told_commit: The commit index it was last sent.
        knows_commit: Up to where it knows the log to be committed.
        retry_at: Nothing but heartbeats before this time, after a failure.
        answered_in: How long the last append that was answered took.
        spared_until: Until then it gets no entries that a quorum does without (R21).
        retreat: How far to go back after the next rejection; doubles, so that a match is found in few round trips (R8).
        last_error: Why the last request failed.
        heartbeats, appends: How many of these are unanswered.
    """

    server: Server
    next: int
    contact: float
    match: int = 0
    mode: Mode = Mode.PROBE
    confirmed: int = 0
    sent: dict[int, Sent] = field(default_factory=dict)
    told_commit: int = 0
    knows_commit: int = 0
    heartbeat_due: float = 0.0
    retry_at: float = 0.0
    answered_in: float = 0.0
    spared_until: float = 0.0
    failures: int = 0
    retreat: int = 1
    last_error: str = "no answer"

    heartbeats: int = 0
    appends: int = 0

    @property
    def waiting_since(self) -> float | None:
        """When the oldest append that is unanswered was sent, None if all are answered."""
        for sent in self.sent.values():
            if sent.purpose is Purpose.APPEND:
                return sent.at
        return None

    def remember(self, rpc_id: int, sent: Sent) -> None:
        """A request was sent."""
        self.sent[rpc_id] = sent
        self.appends += sent.purpose is Purpose.APPEND
        self.heartbeats += sent.purpose is Purpose.HEARTBEAT

    def take(self, rpc_id: int) -> Sent:
        """The request of this id is answered, or will never be."""
        sent = self.sent.pop(rpc_id)
        self.appends -= sent.purpose is Purpose.APPEND
        self.heartbeats -= sent.purpose is Purpose.HEARTBEAT
        return sent
