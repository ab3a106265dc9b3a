"""Bugs of snapshots and compaction."""

from dataclasses import replace
from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core, node
from pyraft_lite.core.effects import CompactLog, RestoreSnapshot, Write
from pyraft_lite.core.messages import InstallSnapshotResponse
from pyraft_lite.core.progress import Progress, Purpose, Sent
from pyraft_lite.core.replication import Replication


@mutant("R15", budget=300, profile="snapshots")
def a_conflicting_log_is_kept(patch: pytest.MonkeyPatch) -> None:
    """A snapshot is put under a log that has another entry in its last place."""

    def drop_log(core: Core, snapshot: Any) -> None:
        core.log.set_snapshot(snapshot.index, snapshot.term)
        if core.log.last_index < snapshot.index:
            original(core, snapshot)

    original = Core.drop_log
    patch.setattr(Core, "drop_log", drop_log)


@mutant("R15", budget=200, profile="snapshots")
def a_dropped_log_leaves_what_was_compacted(patch: pytest.MonkeyPatch) -> None:
    """Entries that the log has compacted, and the disk not deleted yet, stay when the log is dropped."""
    original = Core.drop_log

    def drop_log(core: Core, snapshot: Any) -> None:
        first = core.log.first_index
        original(core, snapshot)
        assert isinstance(core._draft, Write)
        core._draft = replace(core._draft, truncate_from=first)

    patch.setattr(Core, "drop_log", drop_log)


@mutant("R15")
def an_older_snapshot_is_installed(patch: pytest.MonkeyPatch) -> None:
    """A snapshot that came late takes the state and the commit index back."""

    def received(core: Core, event: Any) -> None:
        core.snapshot = event.meta
        core.drop_log(event.meta)
        core.commit_index = event.meta.index
        core.emit(RestoreSnapshot(event.meta))
        core.respond(event.rpc, InstallSnapshotResponse(core.term, True))

    patch.setattr(node, "snapshot_received", received)


@mutant("R15")
def compaction_beyond_the_snapshot(patch: pytest.MonkeyPatch) -> None:
    """Everything that is committed is deleted, the snapshot or not."""

    def compact(core: Core) -> None:
        to_index = min(core.commit_index, core.log.last_index - 1)
        if to_index >= core.log.first_index:
            core.log.compact(to_index)
            core.emit(CompactLog(to_index))

    patch.setattr(Core, "compact", compact)


@mutant("R15", "R10")
def a_snapshot_with_the_latest_configuration(patch: pytest.MonkeyPatch) -> None:
    """A snapshot names the latest configuration, which may lie behind it and be taken back."""
    original = Core.snapshot_point

    def snapshot_point(core: Core, index: int) -> Any:
        latest = core.configurations
        return replace(
            original(core, index), configuration=latest.latest, configuration_index=min(index, latest.latest_index)
        )

    patch.setattr(Core, "snapshot_point", snapshot_point)


@mutant("R15")
def an_interrupted_snapshot_counts(patch: pytest.MonkeyPatch) -> None:
    """A snapshot whose stream broke is answered as if it had come in."""

    def failed(core: Core, event: Any) -> None:
        core.respond(event.rpc, InstallSnapshotResponse(core.term, True))

    patch.setattr(node, "snapshot_receive_failed", failed)


@mutant("R15")
def the_answer_to_a_snapshot_matches_the_end_of_the_log(patch: pytest.MonkeyPatch) -> None:
    """Success of a snapshot counts for all the leader has."""
    original = Replication._accepted

    def accepted(replication: Replication, peer: Progress, sent: Sent) -> None:
        if sent.purpose is Purpose.SNAPSHOT:
            sent = sent._replace(last_index=replication._core.log.last_index)
        original(replication, peer, sent)

    patch.setattr(Replication, "_accepted", accepted)
