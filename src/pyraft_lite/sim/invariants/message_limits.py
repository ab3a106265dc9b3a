"""A message holds no more entries than the settings allow (R17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Send
from pyraft_lite.core.messages import AppendEntriesRequest
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode


class MessageLimits(Invariant):
    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        most = self.simulation.profile.settings.max_append_entries
        for effect in outcome:
            if isinstance(effect, Send) and isinstance(effect.request, AppendEntriesRequest):
                count = len(effect.request.entries)
                if count > most:
                    raise Violation("message limits", f"{node.name} sends {count} entries at once, {most} are allowed")
