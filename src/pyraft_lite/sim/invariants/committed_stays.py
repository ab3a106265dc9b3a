"""A committed entry is never cut from the log of a node that knows it is committed, but behind a snapshot of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import CompactLog, Effect, Write
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class CommittedStays(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._committed: dict[str, tuple[int, int]] = {}  # name -> epoch, commit index before this step

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        snapshots = node.disk.snapshots.list()
        kept = max((meta.index for meta in snapshots), default=0) if outcome else 0
        for effect in outcome:
            if isinstance(effect, CompactLog) and effect.to_index > kept:
                what = f"deletes up to {effect.to_index}, its snapshot ends at {kept}"
                raise Violation("committed stays", f"{node.name} {what}")
            if isinstance(effect, Write) and effect.truncate_from is not None:
                epoch, committed = self._committed.get(node.name, (0, 0))
                if epoch == node.epoch and effect.truncate_from <= committed and node.core.log.last_index < committed:
                    what = f"cuts its log from {effect.truncate_from}, though {committed} is committed"
                    raise Violation("committed stays", f"{node.name} {what}")
        self._committed[node.name] = (node.epoch, node.core.commit_index)
