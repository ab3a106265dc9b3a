"""The configuration in force is the latest in the log, committed or not, else the snapshot's (R7, R10); and a snapshot
holds the one that was committed at its place (R15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Write
from pyraft_lite.core.entry import EntryType
from pyraft_lite.core.events import SnapshotReceived, SnapshotTaken
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation
from pyraft_lite.storage import configuration_codec

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.core.snapshot import SnapshotMeta
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class ConfigurationInForce(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._epochs: dict[str, int] = {}

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        if isinstance(event, SnapshotTaken | SnapshotReceived):
            self._check_snapshot(node, event.meta)
        has_started = self._epochs.get(node.name) != node.epoch
        self._epochs[node.name] = node.epoch
        if has_started or (outcome and isinstance(outcome[0], Write) and _concerns_configurations(outcome[0])):
            self._check_latest(node)

    def _check_latest(self, node: SimulatedNode) -> None:
        log, configurations = node.core.log, node.core.configurations
        found_index, found = 0, None
        for index in range(log.last_index, log.snapshot_index, -1):
            (entry,) = log.entries(index, index, 1)
            if entry.type is EntryType.CONFIGURATION:
                found_index, found = index, configuration_codec.decode(entry.data)
                break
        if found is None:
            snapshot = node.core.snapshot
            if snapshot is None:
                return
            found_index, found = snapshot.configuration_index, snapshot.configuration
        if (configurations.latest_index, configurations.latest) != (found_index, found):
            what = f"goes by configuration {configurations.latest_index}, though {found_index} is its latest"
            raise Violation("configuration in force", f"{node.name} {what}")

    def _check_snapshot(self, node: SimulatedNode, meta: SnapshotMeta) -> None:
        committed = self.simulation.committed
        index = next(i for i in range(meta.index, 0, -1) if committed[i].type is EntryType.CONFIGURATION)
        if meta.configuration != configuration_codec.decode(committed[index].data):
            what = f"a snapshot up to {meta.index} with configuration {meta.configuration_index}, not {index}"
            raise Violation("configuration in force", f"{node.name} has {what}")


def _concerns_configurations(write: Write) -> bool:
    return write.truncate_from is not None or any(entry.type is EntryType.CONFIGURATION for entry in write.entries)
