"""A transfer of leadership ends, one way or another, soon after an election timeout (R14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Complete, Fail
from pyraft_lite.core.events import Token, TransferLeadership
from pyraft_lite.sim.faults import LONGEST_PAUSE
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class TransferEnds(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._longest = 2 * simulation.profile.settings.election_timeout + LONGEST_PAUSE
        self._open: dict[str, tuple[int, float, Token]] = {}  # name -> epoch, since when, token

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        now = self.simulation.world.now
        if isinstance(event, TransferLeadership):
            if not _ends(event.token, outcome):
                self._open[node.name] = (node.epoch, now, event.token)
            return
        if node.name not in self._open:
            return
        epoch, since, token = self._open[node.name]
        if epoch != node.epoch or _ends(token, outcome):
            del self._open[node.name]
        elif now > since + self._longest:
            raise Violation("transfer ends", f"{node.name} is at a transfer since {since:.3f} s, at {now:.3f} s still")


def _ends(token: Token, outcome: list[Effect]) -> bool:
    return any(isinstance(effect, Complete | Fail) and effect.token is token for effect in outcome)
