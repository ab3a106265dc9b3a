"""What a node keeps: the log and stable values in LMDB, snapshots in files; and twins of both in memory.

:mod:`pyraft_lite.storage.interfaces` says what a store must promise.
"""

from pyraft_lite.storage.lmdb_store import LmdbStore
from pyraft_lite.storage.memory import MemorySnapshotStore, MemoryStore
from pyraft_lite.storage.snapshots import FileSnapshotStore

__all__ = ["FileSnapshotStore", "LmdbStore", "MemorySnapshotStore", "MemoryStore"]
