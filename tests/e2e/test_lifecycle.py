"""How a node starts, and what it says when it can't."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import grpc
import pytest

from e2e.harness import FLAGS, add_word, get_words, run_node, taken_port
from pyraft_lite.core.state import State
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.rpc.pb import raft_admin_pb2_grpc
from raftexample.local_cluster import LocalCluster, LocalNode, free_ports, program

pytestmark = pytest.mark.timeout(120)


@pytest.mark.xdist_group("default ports")
def test_one_command_in_an_empty_directory_is_a_cluster_and_comes_back_with_its_data(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path / "unused", names=["nodeA"])
    node = cluster.nodes["nodeA"]
    node.address = "localhost:50051"
    command = [*program("raft_example"), "--raft_id", "nodeA", "--raft_bootstrap"]

    def start() -> None:
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)

    with cluster:
        start()
        cluster.leader()
        add_word(cluster, "nodeA", "persistent")
        second = run_node(*command[3:], cwd=tmp_path)
        assert second.returncode == 1
        assert second.stderr == f"raft-example: data/nodeA is in use by process {node.process.pid}\n"
        cluster.kill("nodeA")
        start()
        cluster.leader()
        cluster.check_raftadmin("localhost:50051", "barrier")
        assert get_words(cluster, "nodeA").best_words[0] == "persistent"
        assert "has no effect" in node.log.read_text()
        assert (tmp_path / "data" / "nodeA").stat().st_mode & 0o777 == 0o700
        node.process.send_signal(signal.SIGINT)
        assert node.process.wait(10) == 0


BAD_FLAGS = [
    (["--raft_id", ""], "raft_id"),
    (["--raft_id", "a/b"], "a/b"),
    (["--raft_id", ".."], ".."),
    (["--address", "localhost"], "localhost"),
    (["--address", "localhost:99999"], "99999"),
    (["--address", "::1:50051"], "::1:50051"),
    (["--listen", "nope"], "nope"),
    (["--heartbeat_timeout", "1"], "1"),
    (["--heartbeat_timeout", "1ms"], "heartbeat_timeout"),
    (["--heartbeat_timeout", "-1s"], "heartbeat_timeout"),
    (["--election_timeout", "0"], "election_timeout"),
    (["--election_timeout", "500ms"], "election_timeout"),
    (["--leader_lease_timeout", "2s"], "leader_lease_timeout"),
    (["--leader_lease_timeout", "4ms"], "leader_lease_timeout"),
    (["--commit_timeout", "0"], "commit_timeout"),
    (["--commit_timeout", "soon"], "soon"),
    (["--snapshot_interval", "1ms"], "snapshot_interval"),
    (["--snapshot_threshold", "0"], "snapshot_threshold"),
    (["--snapshot_threshold", "many"], "many"),
    (["--trailing_logs", "-1"], "trailing_logs"),
    (["--max_append_entries", "0"], "max_append_entries"),
    (["--max_append_entries", "1025"], "1025"),
    (["--max_append_entries", "some"], "some"),
    (["--raft_id", "."], "."),
    (["--address", ""], "--address"),
    (["--address", "127.0.0.1:-1"], "127.0.0.1:-1"),
    (["--address", "[::1]:x"], "[::1]:x"),
    (["--heartbeat_timeout", "inf"], "inf"),
    (["--heartbeat_timeout", "nan"], "nan"),
    (["--heartbeat_timeout", "9999999h"], "heartbeat_timeout"),
    (["--heartbeat_timeout", "99999999999999999999h"], "99999999999999999999h"),
    (["--log_level", "loud"], "loud"),
    (["--log_format", "xml"], "xml"),
    (["--nonsense"], "--nonsense"),
    (["argument"], "argument"),
]


@pytest.mark.parametrize(
    ("flags", "named"), BAD_FLAGS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_bad_flag_is_a_usage_error_that_names_it(tmp_path: Path, flags: list[str], named: str) -> None:
    result = run_node("--raft_id", "nodeA", *flags, cwd=tmp_path)
    assert result.returncode == 2
    assert named in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir()), "nothing was made"


def test_without_an_id_it_says_which_flag_is_missing(tmp_path: Path) -> None:
    result = run_node(cwd=tmp_path)
    assert result.returncode == 2
    assert "--raft_id" in result.stderr


def fails_with_one_line(directory: Path, *flags: str) -> str:
    """Starts a node that can't run; returns the one line it says why."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    result = run_node("--raft_id", "nodeA", "--address", address, "--log_level", "error", *flags, cwd=directory)
    assert result.returncode == 1
    assert re.fullmatch(r"raft-example: .+\n", result.stderr), result.stderr
    return result.stderr


def test_a_file_in_the_place_of_the_data_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert "data/nodeA" in fails_with_one_line(tmp_path)


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    assert "/proc/nowhere/nodeA" in fails_with_one_line(tmp_path, "--raft_data_dir", "/proc/nowhere")


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    damage = b"garbage" * 2000
    database = tmp_path / "data" / "nodeA" / "data.mdb"
    database.parent.mkdir(parents=True)
    database.write_bytes(damage)
    assert "data/nodeA" in fails_with_one_line(tmp_path)
    assert database.read_bytes() == damage


@pytest.fixture(scope="module")
def stopped_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that has stopped, with its log compacted behind a snapshot."""
    directory = tmp_path_factory.mktemp("stopped")
    with LocalCluster(directory / "data", names=["nodeA"], flags=(*FLAGS, "--trailing_logs", "0")) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        for number in range(50):
            add_word(cluster, "nodeA", f"{number}" * 1000)
        cluster.check_raftadmin(cluster.nodes["nodeA"].address, "snapshot")
        add_word(cluster, "nodeA", "after the snapshot")
        cluster.stop("nodeA")
    return directory


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 8192, 20000])
def test_a_database_that_is_cut_off_is_named_and_left_as_it_is(tmp_path: Path, stopped_node: Path, size: int) -> None:
    shutil.copytree(stopped_node, tmp_path, dirs_exist_ok=True)
    database = tmp_path / "data" / "nodeA" / "data.mdb"
    os.truncate(database, size)
    error = fails_with_one_line(tmp_path)
    assert "data/nodeA" in error
    assert "data.mdb is damaged" in error
    assert database.stat().st_size == size


@pytest.mark.parametrize("file", ["state.bin", "meta.json"])
def test_a_snapshot_that_is_damaged_is_not_taken_for_the_state(tmp_path: Path, stopped_node: Path, file: str) -> None:
    shutil.copytree(stopped_node, tmp_path, dirs_exist_ok=True)
    (snapshot,) = (tmp_path / "data" / "nodeA" / "snapshots").iterdir()
    (snapshot / file).write_bytes(b"garbage")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    result = run_node("--raft_id", "nodeA", "--address", address, cwd=tmp_path)
    assert result.returncode == 1
    assert str(snapshot.relative_to(tmp_path)) in result.stderr
    assert result.stderr.splitlines()[-1].startswith("raft-example: ")
    assert "Traceback" not in result.stderr
    assert (snapshot / file).read_bytes() == b"garbage"


def test_a_damaged_peers_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data" / "nodeA" / "peers.json"
    path.parent.mkdir(parents=True)
    path.write_text("[{]")
    assert "data/nodeA/peers.json" in fails_with_one_line(tmp_path)
    assert path.exists()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with taken_port() as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert address in fails_with_one_line(tmp_path, "--address", address)
        assert address in fails_with_one_line(tmp_path, "--listen", address)


def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    assert "192.0.2.1:50051" in fails_with_one_line(tmp_path, "--listen", "192.0.2.1:50051")
    assert "no-such-host.invalid" in fails_with_one_line(tmp_path, "--listen", "no-such-host.invalid:50051")


def test_a_node_that_listens_beyond_the_loopback_warns(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.nodes["nodeA"].address = f"127.0.0.1:{port}"
        cluster.start("nodeA", "--listen", f"0.0.0.0:{port}")
        assert "in plaintext" in cluster.nodes["nodeA"].log.read_text()


def test_the_json_log_has_an_object_per_line_and_the_text_log_hclogs_shape(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA", "nodeB"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap", "--log_format", "json", "--log_level", "debug")
        cluster.start("nodeB")
        cluster.leader()
        assert [cluster.stop(name) for name in cluster.nodes] == [0, 0]
        lines = [json.loads(line) for line in cluster.nodes["nodeA"].log.read_text().splitlines()]
        assert {"@level", "@message", "@module", "@timestamp"} <= set(lines[0])
        assert any(line["@message"] == "entering leader state" for line in lines)
        shape = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(?:INFO|WARN)\]  raft(?:-example)?: .+")
        for line in cluster.nodes["nodeB"].log.read_text().splitlines():
            assert shape.fullmatch(line), line


def test_the_last_node_of_a_lost_cluster_recovers_with_peers_json(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        add_word(cluster, cluster.leader(), "survivor")
        cluster.wait_until_equal()
        for name in cluster.nodes:
            cluster.kill(name)
        peers = tmp_path / "nodeC" / "peers.json"
        peers.write_text(json.dumps([{"id": "nodeC", "address": cluster.nodes["nodeC"].address}]))
        cluster.start("nodeC")
        cluster.wait_for(lambda: cluster.state("nodeC") is State.LEADER, "nodeC leads alone")
        assert not peers.exists()
        cluster.check_raftadmin(cluster.nodes["nodeC"].address, "barrier")
        assert cluster.words("nodeC")[0] == "survivor"


def test_who_shut_a_node_down_may_ask_for_the_outcome_before_its_process_ends(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=(*FLAGS, "--exit_on_shutdown")) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        node = cluster.nodes["nodeA"]
        with grpc.insecure_channel(node.address) as channel:
            admin = raft_admin_pb2_grpc.RaftAdminStub(channel)
            token = admin.Shutdown(pb.ShutdownRequest(), timeout=5)
            for _ in range(40):  # Time enough to end in.
                state = admin.State(pb.StateRequest(), timeout=5).state
            assert state == pb.StateResponse.SHUTDOWN
            assert not admin.Await(token, timeout=5).error
        assert node.process is not None
        assert node.process.wait(10) == 0


def test_a_node_that_was_shut_down_does_not_wait_for_ever_to_be_asked(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=(*FLAGS, "--exit_on_shutdown")) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        node = cluster.nodes["nodeA"]
        with grpc.insecure_channel(node.address) as channel:
            raft_admin_pb2_grpc.RaftAdminStub(channel).Shutdown(pb.ShutdownRequest(), timeout=5)
        assert node.process is not None
        assert node.process.wait(10) == 0


def test_shutdown_ends_the_process_only_if_so_wished(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA", "nodeB"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.start("nodeB", "--raft_bootstrap", "--exit_on_shutdown")
        nodes: dict[str, LocalNode] = cluster.nodes
        for name in nodes:
            cluster.check_raftadmin(nodes[name].address, "shutdown")
        assert nodes["nodeB"].process is not None
        assert nodes["nodeB"].process.wait(10) == 0
        assert cluster.state("nodeA") is State.SHUTDOWN
        assert cluster.stop("nodeA") == 0
