"""The recorded sessions of the original's raftadmin, replayed against our nodes.

Fields and exit codes are the same, but that raftadmin exits with 1 when the operation failed, where the original exits
with 0. What is different on purpose has tests of its own below.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import QUICK

from pyraft_lite.core.state import State
from raftexample.local_cluster import LocalCluster

DATA = Path(__file__).parent.parent / "data"
RECORDED_PORTS = {"50051": "nodeA", "50052": "nodeB", "50053": "nodeC"}

FAILED_OPERATION = re.compile(r'^Response: error: "')


@dataclass(frozen=True)
class Recording:
    """One call of raftadmin: its arguments, its exit code, and the text of its stderr without times."""

    name: str
    arguments: tuple[str, ...]
    code: int
    lines: tuple[str, ...]


def recordings(file: str) -> dict[str, Recording]:
    """The calls recorded in a transcript, by name."""
    found: dict[str, Recording] = {}
    for block in re.split(r"^### ", (DATA / file).read_text(), flags=re.MULTILINE)[1:]:
        head, *rest = block.splitlines()
        match = re.match(r"(\S+): raftadmin ?(.*?)\s+rc=(\d+)", head)
        if match is None:
            continue
        name, arguments, code = match.groups()
        lines = tuple(without_time(line[10:]) for line in rest if line.startswith("  stderr| "))
        found[name] = Recording(name, tuple(shlex.split(arguments)), int(code), lines)
    return found


def without_time(line: str) -> str:
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "", line)


def fields(lines: tuple[str, ...]) -> list[str]:
    """The lines without spacing, tokens, indexes and addresses: what has to be the same."""
    shown = []
    for line in lines:
        text = re.sub(r'operation_token: "[0-9a-f]{40}"', "operation_token: T", line)
        text = re.sub(r"\bindex: \d+", "index: N", text)
        text = re.sub(r"unix_nano: \d+", "unix_nano: N", text)
        text = re.sub(r"\(latest is \d+\)", "(latest is N)", text)
        text = re.sub(r"(?:localhost|127\.0\.0\.1):\d+", "ADDRESS", text)
        shown.append(re.sub(r"\s+", " ", text).strip())
    return [line for line in shown if line]


B = recordings("transcript-B.txt")
C = recordings("transcript-C.txt")


@pytest.fixture(scope="module")
def leader_a(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """nodeA leads nodeB and nodeC, and no test changes that."""
    with LocalCluster(tmp_path_factory.mktemp("golden"), flags=QUICK) as cluster:
        cluster.form()
        cluster.wait_for(lambda: cluster.state("nodeA") is State.LEADER, "nodeA leads")
        cluster.wait_until_equal()
        yield cluster


def replay(cluster: LocalCluster, recording: Recording, node: str) -> None:
    """Runs the call against ``node`` and compares what is printed, and the exit code."""
    _, *arguments = recording.arguments
    arguments = [translate(cluster, argument) for argument in arguments]
    result = cluster.raftadmin(cluster.nodes[node].address, *arguments)
    ours = fields(tuple(without_time(line) for line in result.stderr.splitlines()))
    assert ours == fields(recording.lines), recording.name
    failed = any(FAILED_OPERATION.search(line) for line in recording.lines)
    assert result.returncode == (1 if failed else recording.code)


def translate(cluster: LocalCluster, argument: str) -> str:
    """A recorded address as one of this cluster."""
    match = re.fullmatch(r"localhost:(\d+)", argument)
    name = RECORDED_PORTS.get(match.group(1)) if match else None
    return cluster.nodes[name].address if name else argument


USAGE = [name for name in B if name.startswith(("ra-wrong-argcount", "ra-unknown-command", "ra-noargs", "ra-onearg"))]


@pytest.mark.parametrize("name", USAGE)
def test_usage_errors_read_as_recorded(leader_a: LocalCluster, name: str) -> None:
    recording = B[name]
    result = leader_a.raftadmin(*recording.arguments)
    assert tuple(without_time(line) for line in result.stderr.splitlines()) == recording.lines
    assert result.returncode == recording.code


@pytest.mark.parametrize(
    "name", ["ra-camelcase", "ra-kebab", "ra-mixedcase", "ra-lowercamel", "ra-spaces", "ra-upper",
    "ra-leader-on-leader",
             "ra-state-on-leader", "ra-last_index-on-leader", "ra-applied_index-on-leader", "ra-last_contact-on-leader",
             "ra-verify_leader-on-leader", "ra-barrier-on-leader", "ra-config-3voters", "ra-snapshot-on-leader",
             "ra-snapshot-on-leader-again", "ra-apply_log-with-ext", "ra-apply_log-empty", "ra-add_voter-existing-same",
             "ra-add_voter-prev-index-mismatch", "ra-add_voter-dup-address", "ra-add_voter-empty-id",
             "ra-add_voter-empty-address", "ra-demote_voter-unknown", "ra-remove_server-unknown", "ra-await-unknown",
             "ra-forget-unknown"]
)  # fmt: skip
def test_the_leader_answers_as_recorded(leader_a: LocalCluster, name: str) -> None:
    replay(leader_a, B[name], "nodeA")


@pytest.mark.parametrize(
    "name", ["ra-get_configuration-on-follower", "ra-state-on-follower", "ra-leader-on-follower",
             "ra-last_index-on-follower", "ra-applied_index-on-follower", "ra-last_contact-on-follower",
             "ra-verify_leader-on-follower", "ra-barrier-on-follower", "ra-apply_log-on-follower",
             "ra-add_voter-on-follower", "ra-add_nonvoter-on-follower", "ra-demote_voter-on-follower",
             "ra-remove_server-on-follower", "ra-leadership_transfer-on-follower", "ra-snapshot-on-follower"]
)  # fmt: skip
def test_a_follower_answers_as_recorded(leader_a: LocalCluster, name: str) -> None:
    replay(leader_a, B[name], "nodeB")


def test_stats_have_the_recorded_keys(leader_a: LocalCluster) -> None:
    for node, name in (("nodeA", "ra-stats-on-leader"), ("nodeB", "ra-stats-on-follower")):
        printed = leader_a.check_raftadmin(leader_a.nodes[node].address, "stats")
        keys = re.compile(r'key: "(\w+)"')
        assert keys.findall(printed) == keys.findall("\n".join(B[name].lines))


def test_transfers_that_make_no_sense_are_refused(leader_a: LocalCluster) -> None:
    address = leader_a.nodes["nodeA"].address
    for arguments, error in (
        (("nodeA", address), "cannot transfer leadership to itself"),
        (("nodeZ", "localhost:50099"), "nodeZ: not in the configuration"),
        (("nodeB", "localhost:50099"), "its address is"),
    ):
        result = leader_a.raftadmin(address, "leadership_transfer_to_server", *arguments)
        assert result.returncode == 1
        assert error in result.stderr
    assert leader_a.state("nodeA") is State.LEADER


@pytest.mark.parametrize("value", ["abc", "-1", "99999999999999999999999", "1.5", " 1", ""])
def test_a_bad_number_is_named_with_what_would_be_right(leader_a: LocalCluster, value: str) -> None:
    result = leader_a.raftadmin(leader_a.nodes["nodeA"].address, "add_voter", "nodeD", "localhost:50054", value)
    assert result.returncode == 1
    assert f'parsing "{value}": ' in result.stderr
    assert "previous_index must be a whole number from 0 to 18446744073709551615" in result.stderr


@pytest.mark.parametrize(
    "target", ["", "localhost", "foo:///localhost:50051", "multi:///", "multi://localhost:50052", "a:b"]
)
def test_a_bad_target_is_named_at_once(leader_a: LocalCluster, target: str) -> None:
    result = leader_a.raftadmin(target, "state")
    assert result.returncode == 1
    assert f"invalid target {target!r}" in result.stderr


def test_every_kind_of_target_works(leader_a: LocalCluster) -> None:
    address = leader_a.nodes["nodeA"].address
    port = address.rpartition(":")[2]
    for target in (address, f"localhost:{port}", f"dns:///{address}", f"multi:///127.0.0.1:1,{address}"):
        assert "state: LEADER" in leader_a.check_raftadmin(target, "state")
    for flags in (("--leader",), ("-leader",), ("--leader", "--health_check_service", "Example")):
        assert "state: LEADER" in leader_a.check_raftadmin(*flags, leader_a.target, "state")


def test_what_can_not_be_reached_ends_after_the_timeout_with_exit_code_1(leader_a: LocalCluster) -> None:
    for flags, error in (
        (("127.0.0.1:1",), "no connection to 127.0.0.1:1 within 1 s: .*Connection refused"),
        (("--leader", leader_a.nodes["nodeB"].address), "no leader found at .* within 1 s"),
        (("--leader", "--health_check_service", "NoSuch", leader_a.target), 'no node has "NoSuch" SERVING'),
    ):
        result = leader_a.raftadmin("--timeout", "1", *flags, "state")
        assert result.returncode == 1
        assert re.search(error, result.stderr), result.stderr


def test_unknown_flags_are_usage_errors_and_help_is_not(leader_a: LocalCluster) -> None:
    assert leader_a.raftadmin("--nope", "localhost:50051", "state").returncode == 2
    for flag in ("--help", "-h", "-help"):
        assert leader_a.raftadmin(flag).returncode == 0


def test_transfers_through_leader_never_fail(leader_a: LocalCluster) -> None:
    for _ in range(8):
        leader_a.check_raftadmin("--leader", leader_a.target, "leadership_transfer")
    leader_a.check_raftadmin("--leader", leader_a.target, "barrier")


def test_members_come_and_go_as_recorded(tmp_path: Path) -> None:
    """The configuration changes of transcript C, and the removals of transcript B, on a cluster of their own."""
    with LocalCluster(tmp_path, flags=QUICK) as cluster:
        cluster.form()
        leader = cluster.leader()
        assert leader == "nodeA"
        for name in (
            "rb-demote_voter",
            "rb-config-after-demote",
            "rb-demote_voter-already-nonvoter",
            "rb-add_nonvoter-existing-nonvoter",
            "rb-add_voter-promote",
            "rb-config-after-promote",
            "rb-add_nonvoter-existing-voter",
            "rb-config-after-nonvoter-on-voter",
            "rb-remove-then-latest-prev-index",
            "rb-ltts-ok",
        ):
            replay(cluster, C[name], "nodeA")
        cluster.wait_for(lambda: cluster.state("nodeC") is State.LEADER, "nodeC leads")
        cluster.check_raftadmin(cluster.nodes["nodeC"].address, "remove_server", "nodeB", "0")
        assert "state" not in cluster.check_raftadmin(cluster.nodes["nodeB"].address, "state").split("Response:")[1]
        cluster.check_raftadmin(
            cluster.nodes["nodeC"].address, "add_voter", "nodeB", cluster.nodes["nodeB"].address, "0"
        )
        cluster.check_raftadmin(cluster.nodes["nodeC"].address, "remove_server", "nodeC", "0")
        cluster.wait_for(lambda: cluster.state("nodeC") is State.SHUTDOWN, "nodeC is shut down")
        for name in (
            "ra-barrier-on-removed-leader",
            "ra-apply_log-on-removed-leader",
            "ra-snapshot-on-removed-leader",
            "ra-add_voter-on-removed-leader",
        ):
            replay(cluster, B[name], "nodeC")
        for command in ("leadership_transfer", "verify_leader"):  # the original hangs
            result = cluster.raftadmin(cluster.nodes["nodeC"].address, command)
            assert 'error: "raft is already shutdown"' in result.stderr
        cluster.check_raftadmin(cluster.nodes["nodeC"].address, "shutdown")
        cluster.check_raftadmin("--leader", cluster.target, "barrier")


def test_a_dead_voter_is_not_added_and_costs_no_quorum(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=QUICK) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        address = cluster.nodes["nodeA"].address
        result = cluster.raftadmin(address, "add_voter", "nodeB", "127.0.0.1:1", "0")
        assert result.returncode == 1
        assert 'error: "cannot add voter nodeB at 127.0.0.1:1: cannot be reached:' in result.stderr
        assert "nodeB" not in cluster.check_raftadmin(address, "get_configuration")
        cluster.check_raftadmin(address, "add_nonvoter", "nodeB", "127.0.0.1:1", "0")
        cluster.check_raftadmin(address, "barrier")
        assert cluster.state("nodeA") is State.LEADER


def test_a_snapshot_right_after_a_configuration_change_works(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=QUICK) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        address = cluster.nodes["nodeA"].address
        cluster.check_raftadmin(address, "add_nonvoter", "nodeB", "127.0.0.1:1", "0")
        cluster.check_raftadmin(address, "snapshot")
        assert list((tmp_path / "nodeA" / "snapshots").glob("2-3-*"))
