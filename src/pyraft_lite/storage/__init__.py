"""What a node keeps: the log and stable values in LMDB, snapshots in files."""

from pyraft_lite.storage.lmdb_store import LmdbStore
from pyraft_lite.storage.snapshots import FileSnapshotStore

__all__ = ["FileSnapshotStore", "LmdbStore"]
