"""The leader's side of membership changes: one at a time, and no voter before it has caught up (R10, R11, dissertation
4)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyraft_lite.core.configuration import Change, ChangeCommand, Configuration, Server, Suffrage, next_configuration
from pyraft_lite.core.effects import Complete, Fail, Level
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.errors import CatchUpError, ConfigurationError, RaftError
from pyraft_lite.core.events import ChangeMembership, Token
from pyraft_lite.core.progress import Mode, Progress

if TYPE_CHECKING:
    from pyraft_lite.core.leader import Leader

ROUNDS = 10
"""A new voter must replicate all that was in the log when a round began within an election timeout, in one of so many
rounds (dissertation 4.2.1)."""

UNREACHABLE_AFTER = 2
STALLED_AFTER = 10
"""In election timeouts: when a learner that answers nothing, or gets no further, is given up."""


@dataclass(slots=True)
class Learner:
    """A server that is being caught up before it becomes a voter."""

    event: ChangeMembership
    peer: Progress
    round: int
    round_began: float
    target: int
    match: int
    moved: float


class Membership:
    """Queues changes; each begins when the one before it is committed, and the leader has committed in its own term."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._core = leader.core
        self._queue: deque[ChangeMembership] = deque()
        self._learner: Learner | None = None

    @property
    def busy(self) -> bool:
        """True if a change waits, or a learner is being caught up."""
        return bool(self._queue) or self._learner is not None

    def submit(self, event: ChangeMembership) -> None:
        self._queue.append(event)
        self.proceed()

    def proceed(self) -> None:
        """Begins the next change if it may begin."""
        while self._queue and self._learner is None and self._is_stable():
            self._begin(self._queue.popleft())

    def _is_stable(self) -> bool:
        core = self._core
        return core.commit_index >= self._leader.noop_index and core.configurations.latest_index <= core.commit_index

    def _begin(self, event: ChangeMembership) -> None:
        change, token = event.change, event.token
        latest, latest_index = self._core.configurations.latest, self._core.configurations.latest_index
        if change.previous_index and change.previous_index != latest_index:
            text = f"configuration changed since {change.previous_index} (latest is {latest_index})"
            self._core.emit(Fail(token, ConfigurationError(text)))
            return
        try:
            following = next_configuration(latest, change)
        except ConfigurationError as error:
            self._core.emit(Fail(token, error))
            return
        if latest.get(change.server_id) is None and following == latest:
            self._core.emit(Complete(token, latest_index))
        elif change.command is ChangeCommand.ADD_VOTER and not latest.is_voter(change.server_id):
            self._catch_up(event)
        else:
            self._append(token, change, following)

    def _append(self, token: Token, change: Change, configuration: Configuration) -> None:
        self._core.note(
            Level.INFO,
            "updating configuration",
            command=change.command.value,
            server_id=change.server_id,
            server_addr=change.address,
            servers=configuration.describe(),
        )
        self._leader.append(token, EntryType.CONFIGURATION, self._core.codec.encode(configuration))

    # -- catching up ----------------------------------------------------------------------------------------------

    def _catch_up(self, event: ChangeMembership) -> None:
        core = self._core
        server = Server(event.change.server_id, event.change.address, Suffrage.NONVOTER)
        core.note(Level.INFO, "catching up new voter", server_id=server.id, server_addr=server.address)
        peer = self._leader.replication.include(server)
        self._learner = Learner(event, peer, 1, core.now, core.log.last_index, peer.match, core.now)
        self._leader.replication.advance_now(peer)
        self.check_learner()

    def deadline(self) -> float | None:
        """When a learner may have to be given up."""
        learner = self._learner
        if learner is None or learner.peer.mode is Mode.SNAPSHOT:
            return None
        timeout = self._core.settings.election_timeout
        return min(self._last_heard(learner) + UNREACHABLE_AFTER * timeout, learner.moved + STALLED_AFTER * timeout)

    def check_learner(self) -> None:
        """Ends the round if it is over, and makes the learner a voter if the round was short enough."""
        learner, core = self._learner, self._core
        if learner is None:
            return
        timeout = core.settings.election_timeout
        if learner.peer.match > learner.match or learner.peer.mode is Mode.SNAPSHOT:
            learner.match, learner.moved = learner.peer.match, core.now
        if learner.peer.match >= learner.target:
            if core.now - learner.round_began <= timeout or learner.peer.match == core.log.last_index:
                self._promote(learner)
            elif learner.round == ROUNDS:
                self._give_up(learner, f"not caught up after {ROUNDS} rounds")
            else:
                learner.round += 1
                learner.round_began, learner.target = core.now, core.log.last_index
        elif learner.peer.mode is not Mode.SNAPSHOT:
            if core.now >= self._last_heard(learner) + UNREACHABLE_AFTER * timeout:
                self._give_up(learner, f"cannot be reached: {learner.peer.last_error}")
            elif core.now >= learner.moved + STALLED_AFTER * timeout:
                self._give_up(learner, f"stopped catching up at index {learner.match}: {learner.peer.last_error}")

    def _last_heard(self, learner: Learner) -> float:
        return max(learner.peer.contact, learner.moved)

    def _promote(self, learner: Learner) -> None:
        self._learner = None
        change = learner.event.change
        self._append(learner.event.token, change, next_configuration(self._core.configurations.latest, change))

    def _give_up(self, learner: Learner, why: str) -> None:
        change = learner.event.change
        self._learner = None
        text = f"cannot add voter {change.server_id} at {change.address}: {why}; the configuration is unchanged"
        self._core.note(Level.WARNING, "giving up on new voter", server_id=change.server_id, error=why)
        self._core.emit(Fail(learner.event.token, CatchUpError(text)))
        self._leader.replication.exclude(change.server_id)
        self._leader.sync_peers()
        self.proceed()

    def fail(self, error: RaftError) -> None:
        """Leadership is lost: nothing more comes of what is queued."""
        if self._learner is not None:
            self._core.emit(Fail(self._learner.event.token, error))
            self._learner = None
        while self._queue:
            self._core.emit(Fail(self._queue.popleft().token, error))
