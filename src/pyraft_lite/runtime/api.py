"""The operations of a Raft node, as those see it who serve them to others."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.state import State

__all__ = ["Applied", "Leader", "Observation", "RaftOperations", "State"]


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader a node knows; both empty if it knows none."""

    id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A committed and applied command: its log index and what the state machine returned for it."""

    index: int
    response: object


@dataclass(frozen=True, slots=True)
class Observation:
    """What an observer is told when a node's role, term or known leader changed."""

    state: State
    term: int
    leader: Leader


class RaftOperations(Protocol):
    """What ``pyraft_lite.runtime.Raft`` offers, all of it on the event loop. Every coroutine raises RaftError (see
    ``core.errors``) if the operation fails. Whoever does not want to wait for ever uses ``asyncio.timeout``; the
    operation may take effect all the same.
    """

    async def apply(self, data: bytes, extensions: bytes = b"") -> Applied:
        """Replicates a command; returns when it is committed and applied here."""
        ...

    def propose(self, data: bytes, done: Callable[[Applied | RaftError], None], extensions: bytes = b"") -> None:
        """As :meth:`apply`, for those to whom a turn of the event loop matters: ``done`` gets the outcome at once, in
        the midst of the node's work. It must be quick, and not raise.

        Raises:
            OverloadedError: too much is under way: the command was not proposed, and ``done`` will not be called.
        """
        ...

    def apply_all(self, commands: Sequence[bytes]) -> Awaitable[list[Applied]]:
        """Replicates commands in this order, at a fraction of what as many calls of :meth:`apply` cost.

        They are proposed at once, before this returns, so that several batches may be under way in the order of the
        calls; what it returns is to be awaited, or cancelled.

        Returns:
            To be awaited: the outcomes, in the order of the commands, when all are committed and applied here. It
            raises the RaftError of the first that failed; the others may take effect all the same.

        Raises:
            OverloadedError: too much is under way, at once: none of the commands was proposed.
        """
        ...

    async def barrier(self) -> int:
        """Returns, with its own index, when all that was proposed before is applied here."""
        ...

    async def add_voter(self, server_id: str, address: str, previous_index: int = 0) -> int:
        """Adds a voter (caught up first, R11) or promotes a nonvoter; returns the index of the configuration."""
        ...

    async def add_nonvoter(self, server_id: str, address: str, previous_index: int = 0) -> int: ...

    async def demote_voter(self, server_id: str, previous_index: int = 0) -> int: ...

    async def remove_server(self, server_id: str, previous_index: int = 0) -> int: ...

    async def leadership_transfer(self, server_id: str = "", address: str = "") -> None:
        """Hands leadership to a voter, without a ``server_id`` to the most up to date (R14); returns when it is
        lost."""
        ...

    async def snapshot(self) -> str:
        """Takes a snapshot now and compacts the log; returns its id."""
        ...

    async def verify_leader(self) -> None:
        """Returns if this node is the leader, confirmed by a quorum (R16)."""
        ...

    async def read_index(self, lease: bool = False) -> int:
        """Returns once a read of the local state machine is linearizable (R16), with the index it has reached.

        Args:
            lease: Trust the leader lease instead of asking a quorum; safe only within the configured clock drift.
        """
        ...

    async def shutdown(self) -> None:
        """Stops the node; state becomes SHUTDOWN. Idempotent."""
        ...

    @property
    def state(self) -> State: ...

    @property
    def leader(self) -> Leader: ...

    @property
    def last_index(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def last_contact(self) -> float | None:
        """Unix time in seconds of the last contact with the leader, None if there was none. On the leader: now."""
        ...

    @property
    def configuration(self) -> Configuration:
        """The latest configuration, committed or not."""
        ...

    def stats(self) -> dict[str, str]:
        """Counters and states for people and monitoring, with hashicorp/raft's keys and formats."""
        ...

    def observe(self, observer: Callable[[Observation], None]) -> Callable[[], None]:
        """Calls ``observer`` on the event loop at every change of state, term or leader; returns what ends that."""
        ...
