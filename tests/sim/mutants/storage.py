"""Bugs of durability and restarts."""

from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core
from pyraft_lite.core.configurations import Configurations
from pyraft_lite.core.events import Fatal
from pyraft_lite.core.log import Log


@mutant("R9")
def own_write_counts_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    """A leader counts itself for entries that its disk does not have yet."""
    patch.setattr(Log, "durable_index", property(lambda log: log.last_index, lambda log, value: None), raising=False)


@mutant("R3")
def success_leaves_before_the_entries_are_durable(patch: pytest.MonkeyPatch) -> None:
    """A follower says it has entries that a crash may take back."""
    original = Core.respond

    def respond(core: Core, rpc: Any, response: Any, *, after_log: bool = True) -> None:
        original(core, rpc, response, after_log=False)

    patch.setattr(Core, "respond", respond)


@mutant("R3", budget=200)
def truncated_entries_count_as_durable(patch: pytest.MonkeyPatch) -> None:
    """A write that a truncation has overtaken makes the new entries count as durable."""

    def truncate(log: Log, from_index: int) -> None:
        del log._recent[max(from_index - log._recent_from, 0) :]
        log._recent_from = min(log._recent_from, from_index)
        log.last_index = from_index - 1

    patch.setattr(Log, "truncate", truncate)


@mutant("R10")
def a_restart_forgets_the_configuration_of_the_log(patch: pytest.MonkeyPatch) -> None:
    """After a restart, the configuration is that of the bootstrap or the snapshot, whatever the log says."""
    original = Core._read_configurations

    def read(core: Core, store: Any) -> Configurations:
        found = original(core, store)
        while len(found._history) > 2:
            found._history.pop()
        return found

    patch.setattr(Core, "_read_configurations", read)


@mutant("R18")
def a_failed_write_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """A node goes on after a write that failed, and takes it for written."""
    original = Core._dispatch

    def dispatch(core: Core, event: Any) -> None:
        if not isinstance(event, Fatal):
            original(core, event)

    patch.setattr(Core, "_dispatch", dispatch)
