"""Snapshots as files, laid out as hashicorp/raft's FileSnapshotStore lays them out, so that either reads the other's.

    snapshots/<term>-<index>-<milliseconds>/meta.json    what it is: index, term, configuration, size, CRC-64
    snapshots/<term>-<index>-<milliseconds>/state.bin    the state

A snapshot is written into ``<id>.tmp``, made durable, and renamed: so it is there whole or not at all. One that is
dropped goes the same way back.
"""

import base64
import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from fastcrc import crc64

from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.storage.configuration_codec import encode_peers
from pyraft_lite.storage.files import make_directory, sync_directory
from pyraft_lite.storage.interfaces import SnapshotSink

VERSION = 1
RETAIN = 3
_TEMPORARY = ".tmp"
_READ_BYTES = 1024 * 1024
_SYNC_BYTES = 32 * 1024 * 1024
"""How much is written until it is made durable while more comes: so the disk is at work all the time, what waits in
memory for it stays little, and the end is not held up, nor the log's own commits behind it."""
_NAME = re.compile(r"[0-9]+-[0-9]+-[0-9]+")

logger = logging.getLogger("raft")


class FileSnapshotStore:
    """A SnapshotStore in ``directory/snapshots``. Leftovers of interrupted writes are removed, so no other process may
    use the directory (LmdbStore's lock sees to that in a node).

    Args:
        directory: The node's directory.
        retain: How many snapshots to keep, at least 2: one that is stored may be given up (a user's, when the leader
            loses its leadership), and the node needs the one before. Unreadable ones don't count and are never removed.

    Raises:
        StorageError: the directory can't be made or read.
    """

    def __init__(self, directory: Path, retain: int = RETAIN) -> None:
        if retain < 2:
            raise ValueError(f"retain is {retain}, must be at least 2")
        self._directory = directory / "snapshots"
        self._retain = retain
        try:
            make_directory(self._directory)
            for leftover in self._directory.glob(f"*{_TEMPORARY}"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise StorageError(f"cannot use {self._directory} for snapshots: {error.strerror}") from error

    def create(self, *, index: int, term: int, configuration: Configuration, configuration_index: int) -> SnapshotSink:
        try:
            name = self._reserve(f"{term}-{index}", time.time_ns() // 1_000_000)
            meta = SnapshotMeta(name, index, term, configuration, configuration_index, 0)
            return FileSnapshotSink(self, self._directory, meta)
        except OSError as error:
            raise StorageError(f"cannot begin a snapshot in {self._directory}: {error.strerror}") from error

    def list(self) -> Sequence[SnapshotMeta]:
        found = []
        for path in self._finished():
            try:
                found.append(_read_meta(path)[0])
            except StorageError as error:
                logger.warning("snapshot is left out: %s", error)
        found.sort(key=lambda meta: (meta.term, meta.index, meta.id), reverse=True)
        return found

    def open(self, snapshot_id: str) -> tuple[SnapshotMeta, BinaryIO]:
        source = self.stream(snapshot_id)
        try:
            return source.meta, source.verified()
        except StorageError:
            source.close()
            raise

    def stream(self, snapshot_id: str) -> "FileSnapshotSource":
        path = self._path(snapshot_id)
        return FileSnapshotSource(path, *_read_meta(path))

    def delete(self, snapshot_id: str) -> None:
        path = self._path(snapshot_id)
        try:
            dropped = path.rename(self._directory / f"{snapshot_id}{_TEMPORARY}")
            shutil.rmtree(dropped)
            sync_directory(self._directory)
        except OSError as error:
            raise StorageError(f"cannot remove snapshot {path}: {error.strerror}") from error

    def reap(self) -> None:
        """Drops the oldest snapshots beyond those to retain. One that can't be dropped takes space but does no harm, so
        it is only logged."""
        for meta in self.list()[self._retain :]:
            try:
                self.delete(meta.id)
            except StorageError as error:
                logger.warning("%s", error)

    def _path(self, snapshot_id: str) -> Path:
        path = self._directory / snapshot_id
        if not _NAME.fullmatch(snapshot_id):
            raise StorageError(f"there is no snapshot {path}")
        return path

    def _reserve(self, prefix: str, milliseconds: int) -> str:
        """Makes the temporary directory of a new snapshot; two of one millisecond get different ones."""
        while True:
            name = f"{prefix}-{milliseconds}"
            temporary = self._directory / f"{name}{_TEMPORARY}"
            with contextlib.suppress(FileExistsError):
                temporary.mkdir(mode=0o700)
                # Looked for only now: until the mkdir, another snapshot of this name might have been finished.
                if not (self._directory / name).exists():
                    return name
                temporary.rmdir()
            milliseconds += 1

    def _finished(self) -> Sequence[Path]:
        try:
            return [path for path in self._directory.iterdir() if _NAME.fullmatch(path.name)]
        except OSError as error:
            raise StorageError(f"cannot read {self._directory}: {error.strerror}") from error


class FileSnapshotSink:
    """A snapshot being written (SnapshotSink). Once a write failed it is cancelled."""

    def __init__(self, store: FileSnapshotStore, directory: Path, meta: SnapshotMeta) -> None:
        self._store = store
        self._directory = directory
        self._meta = meta
        self._temporary = directory / f"{meta.id}{_TEMPORARY}"
        try:
            self._file = (self._temporary / "state.bin").open("wb")
        except OSError:
            self._temporary.rmdir()
            raise
        self._syncer = ThreadPoolExecutor(1, "raft-snapshot-sync")
        self._syncing: Future[None] | None = None
        self._synced_size = 0
        self._crc = 0
        self._size = 0
        self._ended = False

    @property
    def id(self) -> str:
        return self._meta.id

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._check_open()
        try:
            size = self._file.write(data)
            self._size += size
            if self._size - self._synced_size >= _SYNC_BYTES:
                self._wait_synced()
                self._syncing = self._syncer.submit(os.fdatasync, self._file.fileno())
                self._synced_size = self._size
        except OSError as error:
            self.cancel()
            raise self._failure(error) from error
        self._crc = crc64.xz(data, self._crc)
        return size

    def close(self) -> SnapshotMeta:
        self._check_open()
        meta = replace(self._meta, size=self._size)
        finished = self._directory / meta.id
        try:
            self._wait_synced()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._write_meta(meta)
            sync_directory(self._temporary)
            self._temporary.rename(finished)
            try:
                sync_directory(self._directory)
            except OSError:
                finished.rename(self._temporary)  # for cancel to remove: it may not be durable, so it must not be seen
                raise
        except OSError as error:
            self.cancel()
            raise self._failure(error) from error
        self._ended = True
        self._syncer.shutdown()
        self._store.reap()
        return meta

    def cancel(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._syncer.shutdown()
        with contextlib.suppress(OSError):  # closing writes what is buffered, which a full disk may refuse
            self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)  # what stays is removed at the next start

    def _wait_synced(self) -> None:
        """Raises OSError if it failed: the kernel says so only once."""
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None

    def _write_meta(self, meta: SnapshotMeta) -> None:
        with (self._temporary / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(_document(meta, self._crc), file, ensure_ascii=False, separators=(",", ":"))
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())

    def _check_open(self) -> None:
        if self._ended:
            raise StorageError(f"snapshot {self.id} is closed or cancelled")

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write snapshot {self._directory / self.id}: {error.strerror}")


class FileSnapshotSource:
    """A snapshot being read (SnapshotSource).

    Attributes:
        meta: What it is.
    """

    def __init__(self, path: Path, meta: SnapshotMeta, crc: int) -> None:
        self.meta = meta
        self._path = path
        self._expected_crc = crc
        self._crc = 0
        self._left = meta.size
        try:
            self._file = (path / "state.bin").open("rb")
        except OSError as error:
            raise self._failure(error) from error
        size = os.fstat(self._file.fileno()).st_size
        if size != meta.size:
            self._file.close()
            raise StorageError(f"snapshot {path} is damaged: its state has {size} bytes, should have {meta.size}")

    def read(self, size: int, /) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._failure(error) from error
        self._crc = crc64.xz(data, self._crc)
        self._left -= len(data)
        if (not data or not self._left) and self._crc != self._expected_crc:
            found = f"its checksum is {self._crc:016x}, should be {self._expected_crc:016x}"
            raise StorageError(f"snapshot {self._path} is damaged: {found}")
        return data

    def verified(self) -> BinaryIO:
        """Reads all of it; returns the file, at its beginning, for the caller to close.

        Raises:
            StorageError: it can't be read, or is not what was written.
        """
        while self.read(_READ_BYTES):
            pass
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"cannot read snapshot {self._path}: {error.strerror}")


def _document(meta: SnapshotMeta, crc: int) -> dict[str, Any]:
    """meta.json with Go's names, in Go's order."""
    servers = [
        {"Suffrage": int(server.suffrage), "ID": server.id, "Address": server.address} for server in meta.configuration
    ]
    return {
        "Version": VERSION,
        "ID": meta.id,
        "Index": meta.index,
        "Term": meta.term,
        "Peers": base64.b64encode(encode_peers(meta.configuration)).decode(),
        "Configuration": {"Servers": servers},
        "ConfigurationIndex": meta.configuration_index,
        "Size": meta.size,
        "CRC": base64.b64encode(crc.to_bytes(8, "big")).decode(),
    }


def _read_meta(path: Path) -> tuple[SnapshotMeta, int]:
    """The description of a snapshot, and the checksum its state should have."""
    file = path / "meta.json"
    try:
        document = json.loads(file.read_bytes())
        if document["Version"] != VERSION:
            raise StorageError(f"{file} has version {document['Version']}, this program reads version {VERSION}")
        servers = tuple(
            Server(_text(server, "ID"), _text(server, "Address"), Suffrage(_number(server, "Suffrage")))
            for server in document["Configuration"]["Servers"] or ()
        )
        meta = SnapshotMeta(
            path.name,
            _number(document, "Index"),
            _number(document, "Term"),
            Configuration(servers),
            _number(document, "ConfigurationIndex"),
            _number(document, "Size"),
        )
        return meta, int.from_bytes(base64.b64decode(document["CRC"], validate=True), "big")
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{file} does not describe a snapshot: {error!r}") from error


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value < 1 << 64:  # bool is an int, too
        raise ValueError(f"{name} is {value!r}, should be a number of 64 bits")
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, should be a string")
    return value
