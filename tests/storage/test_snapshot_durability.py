"""Whatever interrupts a snapshot, at whatever step: it is there whole, or nothing of it is."""

import errno
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import FileSnapshotStore, MemorySnapshotStore, snapshots
from pyraft_lite.storage.files import sync_directory
from pyraft_lite.storage.interfaces import SnapshotSink, SnapshotStore

CONFIGURATION = Configuration((Server("nodeA", "localhost:50051"),))


def begin(store: SnapshotStore, index: int = 1) -> SnapshotSink:
    return store.create(index=index, term=1, configuration=CONFIGURATION, configuration_index=1)


def take(store: SnapshotStore, index: int) -> str:
    sink = begin(store, index)
    sink.write(b"state %d" % index)
    return sink.close().id


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "snapshots").iterdir())


# What the process is killed at, step by step: the n-th call of any of these while a snapshot is closed.
CRASH = """
import os, pathlib, shutil, sys
from pathlib import Path
from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.storage import FileSnapshotStore

store = FileSnapshotStore(Path(sys.argv[1]), retain=2)
sink = store.create(index=3, term=1, configuration=Configuration((Server("a", "a:1"),)), configuration_index=1)
sink.write(b"state 3")
left = int(sys.argv[2])

def dying(function):
    def call(*arguments, **keywords):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*arguments, **keywords)
    return call

os.fsync = dying(os.fsync)
os.rename = dying(os.rename)
pathlib.Path.rename = dying(pathlib.Path.rename)
pathlib.Path.open = dying(pathlib.Path.open)
os.unlink = dying(os.unlink)
os.rmdir = dying(os.rmdir)
sink.close()
"""


def test_a_crash_at_any_step_leaves_the_old_snapshots_or_the_new_one_whole(tmp_path: Path) -> None:
    crashed = 0
    outcomes = []
    while True:
        directory = tmp_path / str(crashed)
        store = FileSnapshotStore(directory)
        take(store, 1)
        take(store, 2)
        result = subprocess.run([sys.executable, "-c", CRASH, str(directory), str(crashed)], check=False)
        store = FileSnapshotStore(directory)
        for meta in store.list():
            _, file = store.open(meta.id)
            with file:
                assert file.read() == b"state %d" % meta.index
        outcomes.append([meta.index for meta in store.list()])
        assert files(directory) == sorted(meta.id for meta in store.list())
        if result.returncode == 0:
            break
        assert result.returncode == 9
        crashed += 1
    assert outcomes == sorted(outcomes, key=[[2, 1], [3, 2, 1], [3, 2]].index)
    assert {tuple(indexes) for indexes in outcomes} == {(2, 1), (3, 2, 1), (3, 2)}


def test_all_bytes_are_synced_before_the_snapshot_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure would leave, a killed process does not show: so the order of the steps is checked."""
    sink = begin(FileSnapshotStore(tmp_path))
    sink.write(b"state")
    steps: list[tuple[str, int]] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append((path.name, path.stat().st_size if path.is_file() else 0))
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        steps.append(("rename", 0))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    meta = sink.close()
    description = (tmp_path / "snapshots" / meta.id / "meta.json").stat().st_size
    assert steps == [
        ("state.bin", len(b"state")),
        ("meta.json", description),
        (f"{meta.id}.tmp", 0),
        ("rename", 0),
        ("snapshots", 0),
    ]


def test_a_large_snapshot_is_made_durable_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "_SYNC_BYTES", 100_000)
    synced: list[int] = []
    fdatasync, fsync = os.fdatasync, os.fsync

    def noted(sync: Callable[[int], None], descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", lambda descriptor: noted(fdatasync, descriptor))
    sink = begin(FileSnapshotStore(tmp_path))
    for _ in range(10):
        sink.write(bytes(60_000))
    monkeypatch.setattr(os, "fsync", lambda descriptor: noted(fsync, descriptor))
    meta = sink.close()
    assert len(synced) == 5 + 4, "state.bin, meta.json and two directories at the end"
    assert synced[:5] == sorted(synced[:5])
    assert synced[0] >= 100_000
    assert synced[5] == meta.size == 600_000


@pytest.mark.parametrize("then", ["more is written", "it is closed"])
def test_a_piece_that_can_not_be_made_durable_fails_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """The kernel tells of a failed write once only, so it must not be lost that it did."""
    monkeypatch.setattr(snapshots, "_SYNC_BYTES", 100_000)
    sink = begin(FileSnapshotStore(tmp_path))
    with monkeypatch.context() as failing:
        failing.setattr(os, "fdatasync", broken)
        sink.write(bytes(100_000))
        with pytest.raises(StorageError, match=f"cannot write snapshot {tmp_path}/snapshots/{sink.id}: Input/output"):
            sink.write(bytes(100_000)) if then == "more is written" else sink.close()
    assert files(tmp_path) == []


def test_a_snapshot_is_not_cancelled_while_a_piece_is_being_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its descriptor would be closed, and might be another file's by the time it is used."""
    monkeypatch.setattr(snapshots, "_SYNC_BYTES", 100_000)
    gate = threading.Event()
    names: list[str] = []

    def slow(descriptor: int) -> None:
        gate.wait()
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fdatasync", slow)
    sink = begin(FileSnapshotStore(tmp_path))
    sink.write(bytes(100_000))
    cancelling = threading.Thread(target=sink.cancel)
    cancelling.start()
    cancelling.join(0.1)  # it would have ended by now, if it ended
    gate.set()
    cancelling.join()
    assert names == ["state.bin"]
    assert files(tmp_path) == []


def broken(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("step", ["fsync", "rename", "sync of the parent"])
def test_a_step_that_fails_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    sink = begin(FileSnapshotStore(tmp_path))
    sink.write(b"state")
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", broken)
    elif step == "rename":
        monkeypatch.setattr(Path, "rename", broken)
    else:
        parent = tmp_path / "snapshots"
        monkeypatch.setattr(
            snapshots, "sync_directory", lambda path: broken() if path == parent else sync_directory(path)
        )
    with pytest.raises(StorageError, match=f"cannot write snapshot {tmp_path}/snapshots/{sink.id}: Input/output error"):
        sink.close()
    sink.cancel()
    assert files(tmp_path) == []


def test_a_snapshot_that_can_not_be_begun_leaves_nothing(tmp_path: Path) -> None:
    store = FileSnapshotStore(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(StorageError) as raised:
            begin(store)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(raised.value) == f"cannot begin a snapshot in {tmp_path}/snapshots: Too many open files"
    assert files(tmp_path) == []


def test_after_a_failed_write_the_snapshot_can_not_be_finished(tmp_path: Path) -> None:
    sink = begin(FileSnapshotStore(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match=f"cannot write snapshot .*{sink.id}: File too large"):
            sink.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for again in (sink.close, lambda: sink.write(b"x")):
        with pytest.raises(StorageError, match="closed or cancelled"):
            again()
    sink.cancel()
    assert files(tmp_path) == []


@pytest.mark.parametrize("make", [FileSnapshotStore, lambda _: MemorySnapshotStore()])
def test_what_is_closed_or_cancelled_takes_no_more(tmp_path: Path, make: Callable[[Path], SnapshotStore]) -> None:
    store = make(tmp_path)
    closed, cancelled = begin(store, 1), begin(store, 2)
    closed.close()
    cancelled.cancel()
    for sink in (closed, cancelled):
        with pytest.raises(StorageError, match=f"snapshot {sink.id} is closed or cancelled"):
            sink.write(b"x")
        with pytest.raises(StorageError, match=f"snapshot {sink.id} is closed or cancelled"):
            sink.close()
    assert [meta.index for meta in store.list()] == [1]


def test_snapshots_of_one_millisecond_never_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_425_838_300_000_000)
    store = FileSnapshotStore(tmp_path, retain=10)
    first, second = begin(store), begin(store)
    ids = [first.close().id, begin(store).close().id, second.close().id]
    assert sorted(ids) == [f"1-1-179542583830{last}" for last in range(3)]
    assert [meta.id for meta in store.list()] == sorted(ids, reverse=True)


def test_damaged_snapshots_do_not_push_out_good_ones_and_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileSnapshotStore(tmp_path, retain=2)
    damaged = take(store, 9)
    (tmp_path / "snapshots" / damaged / "meta.json").write_text("{")
    good = [take(store, index) for index in (1, 2, 3)]
    assert [meta.id for meta in store.list()] == [good[2], good[1]]
    assert files(tmp_path) == sorted([good[1], good[2], damaged])
    assert f"{damaged}/meta.json does not describe a snapshot" in caplog.text


def test_a_snapshot_that_can_not_be_removed_does_not_fail_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileSnapshotStore(tmp_path, retain=2)
    take(store, 1)
    kept = take(store, 2)
    monkeypatch.setattr(shutil, "rmtree", broken)
    with caplog.at_level(logging.WARNING):
        new = take(store, 3)
    assert [meta.id for meta in store.list()] == [new, kept]
    assert "cannot remove snapshot" in caplog.text


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "other", "1-2-3.tmp", "{tmp_path}/other"])
def test_only_a_snapshots_name_opens_or_removes_a_snapshot(tmp_path: Path, name: str) -> None:
    name = name.format(tmp_path=tmp_path)
    store = FileSnapshotStore(tmp_path)
    others = [tmp_path / "other", tmp_path / "snapshots" / "other"]
    for other in others:
        other.mkdir()
    for call in (store.open, store.stream, store.delete):
        with pytest.raises(StorageError, match="there is no snapshot"):
            call(name)
    assert all(other.exists() for other in others)


def test_a_state_larger_than_one_read_is_verified_whole(tmp_path: Path) -> None:
    store = FileSnapshotStore(tmp_path)
    sink = begin(store)
    for part in range(5):
        sink.write(bytes([part]) * 700_000)
    meta = sink.close()
    store.open(meta.id)[1].close()
    with (tmp_path / "snapshots" / meta.id / "state.bin").open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"!")
    with pytest.raises(StorageError, match=f"{meta.id} is damaged: its checksum is"):
        store.open(meta.id)
