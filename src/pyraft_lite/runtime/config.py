"""How one node runs: who it is, the protocol's settings, and when it takes snapshots. All times are in seconds."""

from dataclasses import dataclass, field

from pyraft_lite.core import Settings

MIN_SNAPSHOT_INTERVAL = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of a node, with hashicorp/raft's defaults.

    Attributes:
        local_id: The node's name in the cluster; it must never change and never be another node's.
        local_address: Where peers reach it, ``host:port``.
        settings: Timeouts and limits of the protocol.
        snapshot_interval: How often to look whether a snapshot is due, up to twice as long at random so that not all
            nodes do it at once.
        snapshot_threshold: A snapshot is due after so many entries since the last.
        apply_on_loop: Call the state machine's ``apply`` on the event loop, without a thread's detour. For one that
            takes microseconds and never blocks: while it works, nothing else does, heartbeats included.
        max_proposals: How many proposals may be under way, from :meth:`Raft.apply` until the state machine has applied
            them; more are refused (OverloadedError). Those of :meth:`Raft.apply_all` are counted apart. The default
            fills all messages that may be under way to a follower, and is done in a fraction of a second; more would
            only wait.
        max_proposal_bytes: No more proposals are taken in while those under way hold so many bytes.
        max_reads: How many reads may be under way.

    Raises:
        ValueError: a value is out of range; the message names it.
    """

    local_id: str
    local_address: str
    settings: Settings = field(default_factory=Settings)
    snapshot_interval: float = 120.0
    snapshot_threshold: int = 8192
    apply_on_loop: bool = False
    max_proposals: int = 4096
    max_proposal_bytes: int = 64 * 1024 * 1024
    max_reads: int = 8192

    def __post_init__(self) -> None:
        if not self.local_id:
            raise ValueError("local_id is empty, must be the node's name in the cluster")
        if not self.local_address:
            raise ValueError("local_address is empty, must be host:port")
        if not self.snapshot_interval >= MIN_SNAPSHOT_INTERVAL:
            raise ValueError(
                f"snapshot_interval is {self.snapshot_interval:g} s, must be at least {MIN_SNAPSHOT_INTERVAL:g} s"
            )
        for name in ("snapshot_threshold", "max_proposals", "max_proposal_bytes", "max_reads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
