"""A node's counters, with hashicorp/raft's keys and formats, so that what reads them from a Go node reads them here."""

from pyraft_lite.core import Core, State
from pyraft_lite.core.entry import NANOSECONDS

PROTOCOL_VERSION = 3


def collect_stats(core: Core, now: float, applied_index: int, fsm_pending: int) -> dict[str, str]:
    """The stats of a node at the time ``now`` of the core's clock."""
    configuration = core.configurations.latest
    others = [voter for voter in configuration.voters if voter.id != core.me.id]
    log = core.log
    return {
        "applied_index": str(applied_index),
        "commit_index": str(core.commit_index),
        "fsm_pending": str(fsm_pending),
        "last_contact": _last_contact(core, now),
        "last_log_index": str(log.last_index),
        "last_log_term": str(log.last_term),
        "last_snapshot_index": str(log.snapshot_index),
        "last_snapshot_term": str(log.snapshot_term),
        "latest_configuration": configuration.describe(),
        "latest_configuration_index": str(core.configurations.latest_index),
        "num_peers": str(len(others) if configuration.is_voter(core.me.id) else 0),
        "protocol_version": str(PROTOCOL_VERSION),
        "protocol_version_max": str(PROTOCOL_VERSION),
        "protocol_version_min": "0",
        "snapshot_version_max": "1",
        "snapshot_version_min": "0",
        "state": core.state.name.capitalize(),
        "term": str(core.term),
    }


def _last_contact(core: Core, now: float) -> str:
    if core.state is State.LEADER:
        return "0"
    if core.last_contact is None:
        return "never"
    return format_duration(now - core.last_contact)


def format_duration(seconds: float) -> str:
    """A duration as Go prints it, to the microsecond: ``27.132ms``, ``3.02s``, ``1m30s``, ``2h0m0.5s``."""
    if seconds < 1:
        nanoseconds = round(seconds * NANOSECONDS)
        return f"{nanoseconds / 1e6:.9g}ms" if nanoseconds >= 1_000_000 else f"{nanoseconds / 1e3:.9g}µs"
    minutes, rest = divmod(round(seconds, 6), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.9g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
