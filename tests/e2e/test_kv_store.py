"""The example of a key-value store by itself: what it answers, and what it makes of nonsense."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from e2e.key_values import EXAMPLE, KeyValueCluster, connected


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyValueCluster]:
    """One node is enough."""
    with KeyValueCluster(tmp_path_factory.mktemp("cluster"), size=1) as cluster:
        cluster.form()
        yield cluster


def ask(cluster: KeyValueCluster, method: str, request: object) -> object:
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    with connected(cluster, "a") as channel:
        return json.loads(channel.unary_unary(f"/KeyValue/{method}")(data, timeout=5))


def test_a_put_gives_the_value_before(cluster: KeyValueCluster) -> None:
    assert ask(cluster, "Read", "put") is None
    assert ask(cluster, "Write", ["put", "put", "één"]) is None
    assert ask(cluster, "Write", ["put", "put", "twee"]) == "één"
    assert ask(cluster, "Read", "put") == "twee"


def test_a_compare_and_set_sets_what_is_as_expected_alone(cluster: KeyValueCluster) -> None:
    assert ask(cluster, "Write", ["compare_and_set", "cas", None, "first"]) is True
    assert ask(cluster, "Write", ["compare_and_set", "cas", None, "second"]) is False
    assert ask(cluster, "Write", ["compare_and_set", "cas", "second", "third"]) is False
    assert ask(cluster, "Write", ["compare_and_set", "cas", "first", "fourth"]) is True
    assert ask(cluster, "Read", "cas") == "fourth"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Write", b""),
        ("Write", b"\xff"),
        ("Write", b"[" * 100_000),
        ("Write", {"put": "x"}),
        ("Write", ["put", "x"]),
        ("Write", ["put", "x", 1]),
        ("Write", ["put", "x", "y", "z"]),
        ("Write", ["compare_and_set", "x", 0, "y"]),
        ("Read", b""),
        ("Read", ["x"]),
    ],
)
def test_nonsense_is_refused_and_does_no_harm(cluster: KeyValueCluster, method: str, request_: object) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(cluster, method, request_)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("want ")
    assert ask(cluster, "Read", "x") is None


def test_nonsense_from_raftadmin_does_no_harm(cluster: KeyValueCluster) -> None:
    cluster.check_raftadmin(cluster.nodes["a"].address, "apply_log", "nonsense", "")
    assert ask(cluster, "Read", "x") is None


def test_what_was_written_survives_a_stop_and_a_kill(tmp_path: Path) -> None:
    with KeyValueCluster(tmp_path, size=1, flags=["--snapshot-every", "1"]) as cluster:
        cluster.form()
        ask(cluster, "Write", ["put", "x", "stop"])
        assert cluster.stop("a") == 0
        cluster.start("a", "--bootstrap")
        cluster.leader()
        assert ask(cluster, "Write", ["put", "x", "snapshot"]) == "stop"
        assert cluster.final_state("a") == {"x": "snapshot"}
        assert ask(cluster, "Write", ["put", "x", "kill"]) == "snapshot"
        cluster.kill("a")
        cluster.start("a")
        cluster.leader()
        assert ask(cluster, "Read", "x") == "kill"


@pytest.mark.parametrize(
    ("id", "address", "error"),
    [
        ("", "localhost:1", "Error: local_id is empty, must be the node's name in the cluster"),
        ("a", "nonsense", "Error: cannot listen on nonsense: invalid address 'nonsense'"),
    ],
)
def test_wrong_flags_end_it_with_one_line(tmp_path: Path, id: str, address: str, error: str) -> None:
    command = [sys.executable, str(EXAMPLE), "--id", id, "--address", address, "--data", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode
    assert ended.stderr.splitlines()[-1].startswith(error)
    assert "Traceback" not in ended.stderr
