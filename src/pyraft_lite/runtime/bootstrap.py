"""What is done to a node's stores while it does not run: the first configuration of a cluster, and disaster
recovery."""

import json
from collections.abc import Sequence
from pathlib import Path

from pyraft_lite.core import HardState
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.entry import ZERO_TIME, Entry, EntryType
from pyraft_lite.core.errors import CantBootstrapError, ConfigurationError, RaftError, StorageError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.fsm import FSM
from pyraft_lite.runtime.hard_state import hard_state_values, load_hard_state
from pyraft_lite.storage import configuration_codec
from pyraft_lite.storage.interfaces import LogStore, SnapshotStore, StableStore

READ_BYTES = 4 * 1024 * 1024
TRUNCATE_STEP = 4096


def has_existing_state(log: LogStore, stable: StableStore, snapshots: SnapshotStore) -> bool:
    """True if a node has ever run on these stores."""
    return bool(load_hard_state(stable).term or log.last_index() or snapshots.list())


def bootstrap_cluster(
    log: LogStore, stable: StableStore, snapshots: SnapshotStore, configuration: Configuration
) -> None:
    """Writes the first configuration of a new cluster, as entry 1 of term 1. To be done on one node, or on all of them
    with the same configuration.

    Raises:
        CantBootstrapError: a node has run on these stores.
        ConfigurationError: the configuration is not valid.
        StorageError: the stores can't be read or written.
    """
    configuration.check()
    if has_existing_state(log, stable, snapshots):
        raise CantBootstrapError
    data = configuration_codec.encode(configuration)
    with log.transaction():
        stable.set(hard_state_values(HardState(1)))
        log.append([Entry(1, 1, EntryType.CONFIGURATION, data, appended_at=ZERO_TIME)])


def recover_cluster(
    fsm: FSM, log: LogStore, stable: StableStore, snapshots: SnapshotStore, configuration: Configuration
) -> None:
    """Forces a new configuration on a node whose cluster lost its quorum for good; do the same on all that are left.

    All entries of the log count as committed, whether they were or not; state and configuration go into a new snapshot,
    and the log ends there. ``fsm`` is used up by this: start the node with a new one.

    Raises:
        RaftError: no node has run on these stores.
        ConfigurationError: the configuration is not valid.
        StorageError: the stores can't be read or written.
    """
    configuration.check()
    if not has_existing_state(log, stable, snapshots):
        raise RaftError("refused to recover cluster with no initial state, this is probably an operator error")
    index, term = _replay(fsm, log, snapshots.list(), snapshots)
    frozen = fsm.snapshot()
    sink = snapshots.create(index=index, term=term, configuration=configuration, configuration_index=index)
    try:
        frozen.persist(sink)
        sink.close()
    finally:
        sink.cancel()
    while log.compact(index, TRUNCATE_STEP):
        pass


def _replay(fsm: FSM, log: LogStore, stored: Sequence[SnapshotMeta], snapshots: SnapshotStore) -> tuple[int, int]:
    """Brings ``fsm`` to the end of the log; returns the last index and term."""
    index = term = 0
    if stored:
        meta, source = snapshots.open(stored[0].id)
        with source:
            fsm.restore(source)
        index, term = meta.index, meta.term
    if log.first_index() > index + 1:
        raise StorageError(f"entries {index + 1}..{log.first_index() - 1} are missing between snapshot and log")
    while index < log.last_index():
        for entry in log.entries(index + 1, log.last_index(), READ_BYTES):
            if entry.type is EntryType.COMMAND:
                fsm.apply(entry)
            index, term = entry.index, entry.term
    return index, term


def read_peers_json(path: Path) -> Configuration:
    """Reads hashicorp/raft's ``peers.json``: a list of ``{"id": …, "address": …, "non_voter": false}``.

    Raises:
        ConfigurationError: the file can't be read or is no valid configuration; the message names the file.
    """
    try:
        peers = json.loads(path.read_text())
        configuration = Configuration(tuple(_peer(**peer) for peer in peers))
        configuration.check()
    except (OSError, ValueError, TypeError, ConfigurationError) as error:
        raise ConfigurationError(
            f'{path}: {error!r}: should be a list like [{{"id": "nodeA", "address": "host:port", "non_voter": false}}]'
        ) from error
    return configuration


def _peer(*, id: str, address: str, non_voter: bool = False) -> Server:
    if not (isinstance(id, str) and isinstance(address, str)):
        raise TypeError(f"id {id!r} and address {address!r} should be strings")
    return Server(id, address, Suffrage.NONVOTER if non_voter else Suffrage.VOTER)
