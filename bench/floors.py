"""The floor: what the disk takes for a commit, without a Raft above it."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from bench.calls import CONCURRENCIES
from bench.load import LoadResult
from bench.results import OPERATIONS, P50, P99, Key, Metric
from bench.session import Session

RECORD = bytes(64)
"""About what an entry of 16 bytes takes."""

BLOCK = bytes(4096)
PREALLOCATED = 64 * 1024 * 1024
COMMITS = OPERATIONS._replace(key="commits_per_second", heading="commits/s")
ONE_COMMIT = "1 entry"


@dataclass(frozen=True, slots=True)
class Floors:
    """A workload: commits of LMDB with its default sync, and fdatasync after 4 KiB."""

    name: str = "floors"
    title: str = "The floor: durable writes, no Raft"
    columns: Sequence[Metric] = (COMMITS, P50, P99)
    most_rounds: int = 10

    def run_round(self, session: Session) -> None:
        seconds = session.options.seconds / 2
        with session.directory() as directory:
            for entries in CONCURRENCIES:
                case = ONE_COMMIT if entries == 1 else f"{entries} entries"
                self._add(session, case, "LMDB commit", lmdb_commits(directory / case, entries, seconds))
            self._add(session, "append", "fdatasync", fdatasyncs(directory / "appended", seconds, 0))
            self._add(session, "preallocated", "fdatasync", fdatasyncs(directory / "there", seconds, PREALLOCATED))

    def _add(self, session: Session, case: str, subject: str, result: LoadResult) -> None:
        key = Key(self.name, case, subject)
        session.add(key, {COMMITS: result.per_second, P50: result.p50_ms, P99: result.p99_ms})


def lmdb_commits(path: Path, entries: int, seconds: float) -> LoadResult:
    """Commits so many records at a time to a new database, as a log does."""
    number = 0
    with lmdb.open(str(path), map_size=1 << 30, max_dbs=1) as environment:
        log = environment.open_db(b"logs")

        def commit() -> None:
            nonlocal number
            with environment.begin(write=True) as transaction, transaction.cursor(log) as cursor:
                records = [(each.to_bytes(8), RECORD) for each in range(number, number + entries)]
                cursor.putmulti(records, append=True)
            number += entries

        return timed(commit, seconds)


def fdatasyncs(path: Path, seconds: float, preallocated: int) -> LoadResult:
    """Writes a block at the end, or into what was written before, and syncs."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for _ in range(preallocated // len(BLOCK)):
            os.write(file, BLOCK)
        os.fsync(file)
        os.lseek(file, 0, os.SEEK_SET)

        def write() -> None:
            os.write(file, BLOCK)
            os.fdatasync(file)
            if preallocated and os.lseek(file, 0, os.SEEK_CUR) >= preallocated:
                os.lseek(file, 0, os.SEEK_SET)

        return timed(write, seconds)
    finally:
        os.close(file)


def timed(action: Callable[[], None], seconds: float) -> LoadResult:
    """Does something over and over for so long."""
    latencies: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    while (before := time.perf_counter()) < began + seconds:
        action()
        latencies.append(time.perf_counter() - before)
    return LoadResult.of(latencies, time.perf_counter() - began, time.process_time() - cpu)


FLOORS = Floors()
