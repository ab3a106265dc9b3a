"""Short runs against real processes; what needs Go or Debian's packages is left to scripts/bench itself."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

import engines
from bench import processes
from bench.blob_node import BLOCK, Blob
from bench.clusters import BenchCluster, pids
from bench.echo import call_streams, serving
from bench.load import LoadResult
from bench.log_size import START, entries_case, fill, started
from bench.processes import BenchError, module
from bench.results import Results
from bench.session import Options, Session
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from raftexample.local_cluster import LocalClusterError

PATIENT = ("--heartbeat_timeout", "2s", "--election_timeout", "2s", "--leader_lease_timeout", "2s")
"""For a leader that goes on leading though the machine is busy."""


def cluster_of(nodes: int, directory: Path) -> BenchCluster:
    return BenchCluster(directory, nodes, ("--grpc_engine", engines.chosen, *PATIENT))


def test_our_nodes_take_writes_from_the_python_client(tmp_path: Path) -> None:
    with cluster_of(3, tmp_path) as cluster:
        cluster.form()
        leader = cluster.leader()
        before = cluster.applied_index(leader) or 0
        word = bytes([1 << 3 | 2, 4]) + b"word"
        command = [*module("python_load"), cluster.nodes[leader].address, "/Example/AddWord", "--message", word.hex()]
        result = LoadResult.parse(processes.run([*command, "--callers", "4", "--seconds", "1"], 1))
        assert result.values > 4
        assert (cluster.applied_index(leader) or 0) >= before + result.values
        assert cluster.words(leader) == ["word"] * 3
        assert processes.memory_bytes(pids(cluster)[leader]) > 1024**2
        assert processes.cpu_seconds(pids(cluster)[leader]) > 0


def test_an_echo_server_answers_streams() -> None:
    with serving(engines.chosen) as (target, _):
        assert call_streams(target, 2, 0.2).values > 2


def test_a_node_starts_with_a_log_that_was_made_for_it(tmp_path: Path) -> None:
    with cluster_of(1, tmp_path) as cluster:
        fill(cluster, 1000)
        assert started(cluster, 1000)[START] > 0
        assert (cluster.applied_index("node1") or 0) > 1000
    assert entries_case(1000) == "10^3 entries"


def test_a_blob_comes_back_as_it_was_written(tmp_path: Path) -> None:
    blob, copy, file = Blob(), Blob(), tmp_path / "blob"
    blob.apply(Entry(1, 1, EntryType.COMMAND, b"blob:%d" % (len(BLOCK) + 5)))
    with file.open("wb") as sink:
        blob.snapshot().persist(sink)
    with file.open("rb") as source:
        copy.restore(source)
    assert copy.words == blob.words == [str(len(BLOCK) + 5)]
    with file.open("r+b") as damaged:
        damaged.seek(len(BLOCK))
        damaged.write(bytes([BLOCK[0] ^ 1]))
    with file.open("rb") as source, pytest.raises(ValueError, match="not what was written"):
        copy.restore(source)


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_prints_tables_and_ends_with_json(tmp_path: Path) -> None:
    result = bench("--only", "floors", "--rounds", "2", "--seconds", "0.1", "--output", str(tmp_path))
    assert result.returncode == 0, result.stderr
    *text, last = result.stdout.splitlines()
    assert "## The floor: durable writes, no Raft" in text
    found = json.loads(last)
    assert found == json.loads((tmp_path / "results.json").read_text())
    assert {row["workload"] for row in found["results"]} == {"floors"}
    assert (tmp_path / "results.md").read_text().splitlines() == text[:-1]


def test_quick_is_what_it_is() -> None:
    result = bench("--quick", "--only", "floors")
    assert result.returncode == 2
    assert "--quick goes with neither" in result.stderr


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    process = processes.start(["sleep", "60"])
    with pytest.raises(BenchError, match="has not ended"):
        processes.finish(process, 0)
    assert process.returncode is not None
    with processes.start(["sleep", "60"]) as silent, pytest.raises(BenchError, match="ended or hung"):
        processes.read_line(silent)


def test_a_program_that_fails_is_an_error() -> None:
    with pytest.raises(BenchError, match="exit code 1 of false"):
        processes.run(["false"], 1)


def test_what_is_started_keeps_to_its_cores() -> None:
    before = os.sched_getaffinity(0)
    first, second = processes.halves()
    assert {*first, *second} == before
    assert len(before) == 1 or not {*first} & {*second}
    for cores in first, second:
        with processes.on_cores(cores):
            print_cores = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
            assert json.loads(processes.run(print_cores, 1)) == sorted(cores)
    assert os.sched_getaffinity(0) == before


def test_data_is_gone_after_use_and_a_full_disk_is_told(tmp_path: Path) -> None:
    session = Session(Options(), tmp_path)
    with session.directory(needed=1) as directory:
        (directory / "data").write_bytes(os.urandom(10))
    assert not list(tmp_path.iterdir())
    with pytest.raises(BenchError, match="GiB may be needed"), session.directory(needed=1 << 60):
        pass


def test_sigterm_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--only", "pysyncobj", "--seconds", "60", "--output", str(tmp_path)]
    with subprocess.Popen(command, cwd=processes.ROOT, stderr=subprocess.DEVNULL) as running:
        try:
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
            deadline = time.monotonic() + 60
            while len(nodes := children.read_text().split()) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            running.terminate()
            assert running.wait(60) == 1
        finally:
            running.kill()
    assert len(nodes) == 3
    assert not [node for node in nodes if Path(f"/proc/{node}").exists()]


@pytest.mark.parametrize(
    "error", [BenchError("no"), LocalClusterError("no"), StorageError("no"), OSError("no"), grpc.RpcError("no")]
)
def test_what_can_not_be_measured_is_noted_once(tmp_path: Path, error: Exception) -> None:
    session = Session(Options(), tmp_path, Results())
    for _ in range(2):
        with session.trying("etcd"):
            raise error
    assert session.results.notes == ["etcd: no"]


def test_a_fault_of_the_benchmark_is_not_taken_for_one(tmp_path: Path) -> None:
    session = Session(Options(), tmp_path)
    with pytest.raises(TypeError), session.trying("etcd"):
        raise TypeError


def test_a_note_is_a_line_that_can_be_read(tmp_path: Path) -> None:
    session = Session(Options(), tmp_path)
    session.note("node1", "ended at once:\n" + "a line of its log\n" * 100)
    (note,) = session.results.notes
    assert note.startswith("node1: ended at once: a line of its log a line")
    assert len(note) < 310
