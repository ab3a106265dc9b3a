"""Snapshots as files, laid out as hashicorp/raft's FileSnapshotStore lays them out, so that either reads the other's.

    snapshots/<term>-<index>-<milliseconds>/meta.json    what it is: index, term, configuration, size, CRC-64
    snapshots/<term>-<index>-<milliseconds>/state.bin    the state

A snapshot is written into ``<id>.tmp``, made durable, and renamed: so it is there whole or not at all.
"""

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fastcrc import crc64

from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.storage.configuration_codec import encode_peers
from pyraft_lite.storage.interfaces import SnapshotSink

VERSION = 1
RETAIN = 3
_TEMPORARY = ".tmp"
_READ_BYTES = 1024 * 1024
_NAME = re.compile(r"(\d+)-(\d+)-(\d+)")


class FileSnapshotStore:
    """A SnapshotStore in ``directory/snapshots``; leftovers of interrupted writes are removed.

    Args:
        directory: The node's directory.
        retain: How many snapshots to keep, at least 1.

    Raises:
        StorageError: the directory can't be made or read.
    """

    def __init__(self, directory: Path, *, retain: int = RETAIN) -> None:
        if retain < 1:
            raise ValueError(f"retain is {retain}, must be at least 1")
        self._directory = directory / "snapshots"
        self._retain = retain
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in self._directory.glob(f"*{_TEMPORARY}"):
                shutil.rmtree(leftover)
        except OSError as error:
            raise StorageError(f"cannot use {self._directory} for snapshots: {error.strerror}") from error

    def create(self, *, index: int, term: int, configuration: Configuration, configuration_index: int) -> SnapshotSink:
        milliseconds = time.time_ns() // 1_000_000
        while True:
            name = f"{term}-{index}-{milliseconds}"
            if not (self._directory / name).exists():
                try:
                    (self._directory / f"{name}{_TEMPORARY}").mkdir(mode=0o700)
                    break
                except FileExistsError:
                    pass
                except OSError as error:
                    raise StorageError(f"cannot begin a snapshot in {self._directory}: {error.strerror}") from error
            milliseconds += 1
        meta = SnapshotMeta(name, index, term, configuration, configuration_index, 0)
        return FileSnapshotSink(self, self._directory, meta)

    def list(self) -> Sequence[SnapshotMeta]:
        found = []
        for path in self._finished():
            try:
                found.append(_read_meta(path)[0])
            except StorageError:
                continue  # open() says what is wrong with it, to whoever asks for this one
        return found

    def open(self, snapshot_id: str) -> tuple[SnapshotMeta, BinaryIO]:
        path = self._directory / snapshot_id
        meta, crc = _read_meta(path)
        try:
            file = (path / "state.bin").open("rb")
        except OSError as error:
            raise StorageError(f"cannot read snapshot {path}: {error.strerror}") from error
        try:
            _verify(path, file, meta.size, crc)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return meta, file

    def reap(self) -> None:
        """Removes the oldest snapshots beyond those to retain."""
        for path in self._finished()[self._retain :]:
            shutil.rmtree(path, ignore_errors=True)

    def _finished(self) -> Sequence[Path]:
        """The finished snapshots' directories, newest first."""
        named = [(match, path) for path in self._directory.iterdir() if (match := _NAME.fullmatch(path.name))]
        named.sort(key=lambda item: tuple(map(int, item[0].groups())), reverse=True)
        return [path for _, path in named]


class FileSnapshotSink:
    """A snapshot being written (SnapshotSink)."""

    def __init__(self, store: FileSnapshotStore, directory: Path, meta: SnapshotMeta) -> None:
        self._store = store
        self._directory = directory
        self._meta = meta
        self._temporary = directory / f"{meta.id}{_TEMPORARY}"
        self._file = (self._temporary / "state.bin").open("wb")
        self._crc = 0
        self._size = 0
        self._ended = False

    @property
    def id(self) -> str:
        return self._meta.id

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error
        self._crc = crc64.xz(data, self._crc)
        self._size += len(data)
        return len(data)

    def close(self) -> SnapshotMeta:
        meta = SnapshotMeta(
            self._meta.id,
            self._meta.index,
            self._meta.term,
            self._meta.configuration,
            self._meta.configuration_index,
            self._size,
        )
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            with (self._temporary / "meta.json").open("w", encoding="utf-8") as file:
                json.dump(_document(meta, self._crc), file, ensure_ascii=False, separators=(",", ":"))
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            _sync_directory(self._temporary)
            self._temporary.rename(self._directory / meta.id)
            self._ended = True
            _sync_directory(self._directory)
        except OSError as error:
            self.cancel()
            raise self._failure(error) from error
        self._store.reap()
        return meta

    def cancel(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write snapshot {self._directory / self.id}: {error.strerror}")


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
            Server(server["ID"], server["Address"], Suffrage(server["Suffrage"]))
            for server in document["Configuration"]["Servers"] or ()
        )
        meta = SnapshotMeta(
            path.name,
            int(document["Index"]),
            int(document["Term"]),
            Configuration(servers),
            int(document["ConfigurationIndex"]),
            int(document["Size"]),
        )
        return meta, int.from_bytes(base64.b64decode(document["CRC"], validate=True), "big")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"cannot read {file}: {error!r}") from error


def _verify(path: Path, file: BinaryIO, size: int, crc: int) -> None:
    actual_size = actual_crc = 0
    while chunk := file.read(_READ_BYTES):
        actual_crc = crc64.xz(chunk, actual_crc)
        actual_size += len(chunk)
    if actual_size != size:
        raise StorageError(f"snapshot {path} is damaged: its state has {actual_size} bytes, should have {size}")
    if actual_crc != crc:
        raise StorageError(f"snapshot {path} is damaged: its checksum is {actual_crc:016x}, should be {crc:016x}")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
