"""The protocol's settings, with hashicorp/raft's defaults and limits. All times are in seconds."""

from dataclasses import dataclass

MAX_APPEND_ENTRIES = 1024
"""The most entries one AppendEntries message may carry (R17)."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024 - 16 * 1024
"""The most bytes of entries in one message: a Go peer takes in 4 MiB, less headroom for the message's head (R17)."""

_FLOORS = {
    "heartbeat_timeout": 0.005,
    "election_timeout": 0.005,
    "leader_lease_timeout": 0.005,
    "commit_timeout": 0.001,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a node takes part in the protocol.

    Attributes:
        heartbeat_timeout: A follower that hears nothing for this long, up to twice as long, stands for election (R1).
        election_timeout: A candidate tries again after this long, up to twice as long.
        leader_lease_timeout: A leader that has not heard from a quorum for this long steps down (R13).
        commit_timeout: How long a leader may wait before it tells idle followers of a new commit index. Followers that
            a quorum does without wait some half of it for further entries (R21).
        max_append_entries: The most entries in one message, 1 to 1024.
        max_in_flight: How many unanswered messages with entries a leader sends to one follower. Few: what is
            proposed meanwhile goes into the next message together.
        trailing_logs: How many entries compaction leaves in the log, so that a follower that was away for a moment
            needs no snapshot.
        lease_reads: Allows reads on the strength of the leader lease (R16). Set alike on all nodes, none of them a Go
            node:
            it makes a starting node keep from voting for one heartbeat timeout, since it may have just promised
            a leader not to.
        clock_drift: By which fraction the clocks of two nodes may differ in speed; lease reads rely on it.
        shutdown_on_remove: A leader that was removed from the cluster shuts down (R12).

    Raises:
        ValueError: a setting is out of range; the message names it and the range.
    """

    heartbeat_timeout: float = 1.0
    election_timeout: float = 1.0
    leader_lease_timeout: float = 0.5
    commit_timeout: float = 0.05
    max_append_entries: int = MAX_APPEND_ENTRIES
    max_in_flight: int = 2
    trailing_logs: int = 10240
    lease_reads: bool = False
    clock_drift: float = 0.1
    shutdown_on_remove: bool = True

    def __post_init__(self) -> None:
        for name, floor in _FLOORS.items():
            if not getattr(self, name) >= floor:
                raise ValueError(f"{name} is {getattr(self, name):g} s, must be at least {floor:g} s")
        if self.leader_lease_timeout > self.heartbeat_timeout:
            raise ValueError(
                f"leader_lease_timeout ({self.leader_lease_timeout:g} s) must not be larger than "
                f"heartbeat_timeout ({self.heartbeat_timeout:g} s)"
            )
        if self.election_timeout < self.heartbeat_timeout:
            raise ValueError(
                f"election_timeout ({self.election_timeout:g} s) must not be smaller than "
                f"heartbeat_timeout ({self.heartbeat_timeout:g} s)"
            )
        if not 1 <= self.max_append_entries <= MAX_APPEND_ENTRIES:
            raise ValueError(f"max_append_entries is {self.max_append_entries}, must be 1 to {MAX_APPEND_ENTRIES}")
        if self.max_in_flight < 1:
            raise ValueError(f"max_in_flight is {self.max_in_flight}, must be at least 1")
        if self.trailing_logs < 0:
            raise ValueError(f"trailing_logs is {self.trailing_logs}, must not be negative")
        if not 0 <= self.clock_drift < 1:
            raise ValueError(f"clock_drift is {self.clock_drift:g}, must be at least 0 and less than 1")
