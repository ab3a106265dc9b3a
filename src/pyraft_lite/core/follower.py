"""The follower: waits for its leader, and stands for election when it hears nothing (R1, R19)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pyraft_lite.core.effects import Level
from pyraft_lite.core.role import Role
from pyraft_lite.core.state import State

if TYPE_CHECKING:
    from pyraft_lite.core.node import Core


class Follower(Role):
    """Also what a nonvoter is, and a node that is in no configuration: those never stand for election (R12)."""

    state: ClassVar[State] = State.FOLLOWER
    _idle_noted = False

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._timeout = core.random_timeout(core.settings.heartbeat_timeout)
        self.put_off_election()

    def deadline(self) -> float:
        return self._timeout_at

    def tick(self) -> None:
        if self.core.now >= self._timeout_at:
            self._stand_for_election()

    def heard_from_leader(self) -> None:
        self.core.last_contact = self.core.now
        self.put_off_election()

    def put_off_election(self) -> None:
        """Begins the heartbeat timeout anew."""
        self._timeout_at = self.core.now + self._timeout

    def leader_gone(self, address: str) -> None:
        """The leader's process is gone: no use in waiting for it (R19)."""
        core = self.core
        if core.leader is None or core.leader.address != address:
            return
        core.note(Level.WARNING, "leader is gone, not waiting for the heartbeat timeout", leader=address)
        core.leader = None
        self._timeout_at = min(self._timeout_at, core.now + core.short_random_delay())

    def timeout_now(self) -> None:
        """The leader hands over: no pre-vote, and voters are told so (R14)."""
        if self.core.configurations.latest.is_voter(self.core.me.id):
            self.core.campaign(transfer=True)

    def _may_stand(self) -> bool:
        """True if we vote, or did until a change that may not be committed: the others can need us as their leader to
        commit it, when nobody else has a log as long as ours (dissertation 4.2.2)."""
        core = self.core
        me, configurations = core.me.id, core.configurations
        if configurations.latest.is_voter(me):
            return True
        if configurations.latest_index <= core.commit_index:
            return False
        _, before = configurations.at(configurations.latest_index - 1)
        return before.is_voter(me)

    def _stand_for_election(self) -> None:
        core = self.core
        last, core.leader = core.leader, None
        if self._may_stand():
            core.note(
                Level.WARNING,
                "heartbeat timeout reached, starting election",
                last_leader_addr=last.address if last else "",
                last_leader_id=last.id if last else "",
            )
            core.campaign()
            return
        self.put_off_election()
        if not self._idle_noted:
            self._idle_noted = True
            why = "no known peers" if not core.configurations.latest else "not a voter in the latest configuration"
            core.note(Level.WARNING, f"{why}, aborting election")
