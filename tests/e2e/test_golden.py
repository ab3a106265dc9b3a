"""The recorded sessions of the original's raftadmin, replayed call for call against our nodes.

All runs of a transcript (tests/data) are replayed in their order: what is printed has the same fields, and the exit
code is the same, but that raftadmin exits with 1 when the operation failed, where the original exits with 0. SETUP does
what the recording did between the runs; DIFFERENCES is all that differs.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from admin.transcripts import DATA, normal
from e2e.harness import FLAGS, add_word, members
from pyraft_lite.core.state import State
from pyraft_lite.rpc.pb import raft_admin_pb2
from raftexample.local_cluster import LocalCluster

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Recorded:
    """One run: what was typed, what was printed, and the exit code, None if the run never ended."""

    name: str
    arguments: tuple[str, ...]
    code: int | None
    printed: str


def recorded(transcript: str) -> Iterator[Recorded]:
    """All runs of raftadmin in a transcript."""
    head = re.compile(r"### (\S+): raftadmin ?(.*?)   rc=(\d+|TIMEOUT)")
    for block in re.split(r"^(?=### )", (DATA / transcript).read_text(), flags=re.MULTILINE):
        if match := head.match(block):
            name, arguments, code = match.groups()
            lines = [line.removeprefix("  stderr| ") for line in block.split("\n") if line.startswith("  stderr|")]
            yield Recorded(
                name, tuple(shlex.split(arguments)), int(code) if code.isdigit() else None, normal("\n".join(lines))
            )


TRANSCRIPTS = {name: list(recorded(name)) for name in ("transcript-B.txt", "transcript-C.txt", "transcript-D.txt")}
BY_NAME = {run.name: run for runs in TRANSCRIPTS.values() for run in runs}


# -- what differs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Differs:
    """How a run ends here: with this exit code and with output that holds ``shows``, or like another recorded run."""

    why: str
    code: int = 0
    shows: str = ""
    like: str = ""


BAD_TARGET = "a target of no known form is named at once"
NO_ANSWER = "--timeout instead of blocking for ever"
SHUTDOWN = "shutdown shuts Raft down, without a snapshot"
NONVOTER_REFUSED = "leadership is not given to a nonvoter, so the leader goes on"
SAYS_WHAT_IS_RIGHT = "says as well what would be right"
CLEARER = "a clearer error"
KEEPS_QUORUM = "a dead voter is not added"

DIFFERENCES = {
    "ra-readme-3-leadership_transfer": Differs("Forget is best effort", 0, r"Response:$"),
    "ra-help": Differs("click's help, of more flags", 0, r"--health_check_service"),
    "ra-unknown-flag": Differs("click's words", 2, r"No such option"),
    "ra-bad-uint": Differs(SAYS_WHAT_IS_RIGHT, 1, r'parsing "abc": invalid syntax: previous_index must be'),
    "ra-neg-uint": Differs(SAYS_WHAT_IS_RIGHT, 1, r'parsing "-1": invalid syntax: previous_index must be'),
    "ra-huge-uint": Differs(SAYS_WHAT_IS_RIGHT, 1, r'parsing "9+": value out of range: previous_index must be'),
    "ra-unreachable": Differs(NO_ANSWER, 1, r"no connection to \S+ within 1 s: .*Connection refused"),
    "ra-bad-target-scheme": Differs(BAD_TARGET, 1, r"invalid target 'foo:"),
    "ra-bad-target-noport": Differs(BAD_TARGET, 1, r"invalid target 'localhost'"),
    "ra-multi-empty": Differs(BAD_TARGET, 1, r"invalid target 'multi:///'"),
    "ra-empty-target": Differs(BAD_TARGET, 1, r"invalid target ''"),
    "ra-multi-double-slash": Differs(BAD_TARGET, 1, r"invalid target 'multi://"),
    "ra-ipv6": Differs("listens on --address's host only", 1, r"no connection to \[::1\]:\d+ within 1 s"),
    "ra-leader-single-nonleader-target": Differs(NO_ANSWER, 1, r"no leader found at \S+ within 1 s"),
    "ra-leader-wrong-health-service": Differs(NO_ANSWER, 1, r'no leader found .* no node has "NoSuch" SERVING'),
    "ra-ltts-unknown": Differs(CLEARER, 1, r'error: "cannot transfer leadership to nodeZ: not in the configuration"'),
    "ra-ltts-to-B-or-C-wrong-address": Differs(CLEARER, 1, r'error: "cannot transfer .* nodeA .*its address is'),
    "ra-ltts-to-nonvoter": Differs(NONVOTER_REFUSED, 1, r'error: "cannot transfer leadership to nodeC'),
    "ra-add_nonvoter-existing-nonvoter": Differs(NONVOTER_REFUSED, like="rb-add_nonvoter-existing-nonvoter"),
    "ra-add_voter-promote": Differs(NONVOTER_REFUSED, like="rb-add_voter-promote"),
    "ra-config-after-promote": Differs(NONVOTER_REFUSED, like="rb-config-after-promote"),
    "ra-add_nonvoter-existing-voter": Differs(NONVOTER_REFUSED, like="rb-add_nonvoter-existing-voter"),
    "ra-config-after-nonvoter-on-voter": Differs(NONVOTER_REFUSED, like="rb-config-after-nonvoter-on-voter"),
    "ra-ltts-ok": Differs(NONVOTER_REFUSED, like="rb-ltts-ok"),
    "ra-shutdown-follower": Differs(SHUTDOWN, like="rd-121-shutdown-follower"),
    "ra-state-after-shutdown": Differs(SHUTDOWN, like="rd-121-state-after"),
    "ra-shutdown-leader": Differs(SHUTDOWN, like="rd-121-shutdown-follower"),
    "ra-state-after-shutdown-leader": Differs(SHUTDOWN, like="rd-121-state-after"),
    "ra-shutdown-on-removed-leader": Differs(SHUTDOWN, like="rd-121-shutdown-again"),
    "ra-leadership_transfer-on-removed-leader": Differs("the original hangs", 1, r'error: "raft is already shutdown"'),
    "ra-verify_leader-on-removed-leader": Differs("the original hangs", 1, r'error: "raft is already shutdown"'),
    "rb-snapshot-after-cfg": Differs("a snapshot right after a change works", 0, r"Response:$"),
    "rb-state-noquorum": Differs("it is a candidate at times", 0, r"Response:( state: CANDIDATE)?$"),
    "rb-multi-leader-noquorum": Differs(NO_ANSWER, 1, r"no leader found at \S+ within 1 s"),
    "rd-add_voter-down-node": Differs(KEEPS_QUORUM, 1, r'error: "cannot add voter nodeB at \S+: cannot be reached'),
    "rd-state-after-add-down": Differs(KEEPS_QUORUM, like="ra-state-on-leader"),
    "rd-config-after-add-down": Differs(KEEPS_QUORUM, 0, r'Response: servers: \{ id: "nodeA" address: "\S+" \}$'),
    "rd-121-shutdown-leader": Differs("the original hangs", like="rd-121-shutdown-follower"),
}

VARYING = re.compile(
    r'key: "(applied_index|commit_index|last_contact|last_log_index|last_log_term|last_snapshot_index|'
    r'last_snapshot_term|latest_configuration_index|term)" value: "[^"]*"'
)
"""Stats whose values no two sessions share; latest_configuration_index is always 0 in the original."""


# -- what happened between the runs -----------------------------------------------------------------------------------


def begin(cluster: LocalCluster) -> None:
    """A cluster of nodeA alone; the others run and wait."""
    cluster.start("nodeA", "--raft_bootstrap")
    for name in ("nodeB", "nodeC"):
        cluster.start(name)
    cluster.leader()


def begin_alone(cluster: LocalCluster) -> None:
    cluster.start("nodeA", "--raft_bootstrap")
    cluster.leader()


def join(cluster: LocalCluster) -> None:
    """The others come, and are voters."""
    for name in ("nodeB", "nodeC"):
        cluster.start(name)
        cluster.check_raftadmin("--leader", cluster.target, "add_voter", name, cluster.nodes[name].address, "0")


def lead(cluster: LocalCluster, name: str) -> None:
    """Has a node lead, and the others know it."""
    if cluster.leader() != name:
        address = cluster.nodes[name].address
        cluster.check_raftadmin("--leader", cluster.target, "leadership_transfer_to_server", name, address)
        cluster.wait_for(lambda: cluster.state(name) is State.LEADER, f"{name} leads")
    cluster.check_raftadmin(cluster.nodes[name].address, "barrier")
    known = f'address: "{cluster.nodes[name].address}"'
    for other in members(cluster, name):
        address = cluster.nodes[other].address
        cluster.wait_for(lambda a=address: known in cluster.check_raftadmin(a, "leader"), f"{other} knows its leader")


def restart(cluster: LocalCluster, *names: str) -> None:
    for name in names:
        if cluster.nodes[name].is_running:
            assert cluster.stop(name) == 0
        cluster.start(name)


def lose_quorum(cluster: LocalCluster) -> None:
    lead(cluster, "nodeC")
    for name in ("nodeA", "nodeB"):
        cluster.kill(name)
    cluster.wait_for(lambda: cluster.state("nodeC") is not State.LEADER, "nodeC has stepped down")


def demote_c_again(cluster: LocalCluster) -> None:
    lead(cluster, "nodeB")
    cluster.check_raftadmin(cluster.nodes["nodeB"].address, "demote_voter", "nodeC", "0")


def miss_the_leader(cluster: LocalCluster) -> None:
    log = cluster.nodes["nodeC"].log
    cluster.wait_for(lambda: "aborting election" in log.read_text(), "nodeC has missed its leader")


def restart_and_lead(*names: str, leader: str) -> Callable[[LocalCluster], None]:
    def setup(cluster: LocalCluster) -> None:
        restart(cluster, *names)
        lead(cluster, leader)

    return setup


def leads(name: str) -> Callable[[LocalCluster], None]:
    return lambda cluster: lead(cluster, name)


SETUP: dict[str, Callable[[LocalCluster], object]] = {
    "ra-readme-1-add_voter-B": begin,
    "ra-noargs": leads("nodeB"),
    "ra-add_nonvoter-down": demote_c_again,
    "ra-state-of-removed": miss_the_leader,
    "ra-state-of-readded": lambda cluster: cluster.wait_until_equal(),
    "ra-shutdown-leader": restart_and_lead("nodeA", leader="nodeB"),
    "ra-remove_server-leader-itself": restart_and_lead("nodeB", leader="nodeB"),
    "ra-state-of-removed-leader": lambda cluster: cluster.wait_for(
        lambda: cluster.state("nodeB") is State.SHUTDOWN, "nodeB is shut down"
    ),
    "ra-leader-on-removed": lambda cluster: cluster.wait_for(
        lambda: "address" not in cluster.check_raftadmin(cluster.nodes["nodeC"].address, "leader"),
        "nodeC has heard nothing of a leader for a while",
    ),
    "rb-add_voter-B": begin,
    "rb-transfer-direct": leads("nodeB"),
    "rb-cfg-bump": leads("nodeA"),
    "rb-snapshot-after-cfg-then-log": lambda cluster: add_word(cluster, "nodeA", "after-config"),
    "rb-state-noquorum": lose_quorum,
    "rb-snapshot-newline": restart_and_lead("nodeA", "nodeB", leader="nodeA"),
    "rd-add_voter-down-node": begin_alone,
    "rd-121-shutdown-follower": join,
    "rd-big-state": restart_and_lead("nodeA", "nodeB", leader="nodeA"),
}


# -- the replay -------------------------------------------------------------------------------------------------------


def translate(cluster: LocalCluster, text: str) -> str:
    """Recorded addresses as those of this cluster; nobody listens on the low ports."""
    for recorded_port, node in zip(("50051", "50052", "50053"), cluster.nodes.values(), strict=True):
        port = node.address.rpartition(":")[2]
        text = re.sub(rf"(?:localhost|127\.0\.0\.1):{recorded_port}", node.address, text)
        text = text.replace(f"[::1]:{recorded_port}", f"[::1]:{port}")
    return text.replace("localhost:50054", "127.0.0.1:1").replace("localhost:50099", "127.0.0.1:2")


def fields(printed: str) -> str:
    """What has to be the same: all but the spacing, and values that no two sessions share."""
    text = re.sub(r"\s+", " ", printed).strip()
    text = VARYING.sub(r'key: "\1" value: V', text)
    text = re.sub(r"\b(index|unix_nano): \d+", r"\1: N", text)
    return re.sub(r"\(latest is \d+\)", "(latest is N)", text)


def mismatch(cluster: LocalCluster, run: Recorded) -> str | None:
    """Replays a run; says what is not as it should be."""
    differs = DIFFERENCES.get(run.name)
    never_ended = run.code is None or run.name == "ra-ipv6"
    timeout = ("--timeout", "1") if never_ended else ()
    result = cluster.raftadmin(*timeout, *(translate(cluster, argument) for argument in run.arguments))
    printed = fields(normal(result.stderr + result.stdout))
    if differs and differs.shows:
        as_it_should = re.search(differs.shows, printed) and result.returncode == differs.code
        return None if as_it_should else f"{run.name}: exit code {result.returncode}, {printed!r} !~ {differs.shows!r}"
    like = BY_NAME[differs.like] if differs else run
    expected = fields(translate(cluster, like.printed))
    # Another run's answer counts, not its request.
    if differs:
        printed, expected = (text.rpartition("Response:")[2] for text in (printed, expected))
    code = 1 if 'Response: error: "' in like.printed else like.code
    if (printed, result.returncode) != (expected, code):
        return f"{run.name}: exit code {result.returncode}, should be {code}\n  {printed!r}\n  {expected!r}"
    return None


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_every_recorded_run_ends_as_recorded_or_as_the_table_says(tmp_path: Path, transcript: str) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        mismatches = []
        for run in TRANSCRIPTS[transcript]:
            if run.name in SETUP:
                SETUP[run.name](cluster)
            mismatches.append(mismatch(cluster, run))
        assert not [*filter(None, mismatches)], "\n".join(filter(None, mismatches))


def test_the_tables_name_recorded_runs_only() -> None:
    assert not (DIFFERENCES.keys() | SETUP.keys()) - BY_NAME.keys()
    assert not {differs.like for differs in DIFFERENCES.values() if differs.like} - BY_NAME.keys()


def test_every_command_is_among_the_recorded_runs() -> None:
    typed = {re.sub(r"[-_ ]", "", run.arguments[1]).lower() for run in BY_NAME.values() if len(run.arguments) > 1}
    methods = raft_admin_pb2.DESCRIPTOR.services_by_name["RaftAdmin"].methods
    assert len(methods) == 20
    assert not {method.name.lower() for method in methods} - typed


# -- raftadmin beyond what was recorded -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three voters, of which any may lead."""
    with LocalCluster(tmp_path_factory.mktemp("golden"), flags=FLAGS) as cluster:
        cluster.form()
        yield cluster


@pytest.mark.parametrize("value", ["1.5", " 1", ""])
def test_a_bad_number_is_named_with_what_would_be_right(trio: LocalCluster, value: str) -> None:
    result = trio.raftadmin(trio.nodes["nodeA"].address, "add_voter", "nodeD", "localhost:50054", value)
    assert result.returncode == 1
    assert f'parsing "{value}": ' in result.stderr
    assert "previous_index must be a whole number from 0 to 18446744073709551615" in result.stderr


def test_every_kind_of_target_works(trio: LocalCluster) -> None:
    leader = trio.leader()
    address = trio.nodes[leader].address
    port = address.rpartition(":")[2]
    for target in (address, f"localhost:{port}", f"dns:///{address}", f"multi:///127.0.0.1:1,{address}"):
        assert "state: LEADER" in trio.check_raftadmin(target, "state")
    for flags in (("--leader",), ("-leader",), ("--leader", "--health_check_service", "Example")):
        assert "state: LEADER" in trio.check_raftadmin(*flags, trio.target, "state")


def test_transfers_through_leader_never_fail(trio: LocalCluster) -> None:
    for _ in range(8):
        trio.check_raftadmin("--leader", trio.target, "leadership_transfer")
    trio.check_raftadmin("--leader", trio.target, "barrier")


def test_operations_that_a_follower_does_not_know_are_told_as_by_the_leader(trio: LocalCluster) -> None:
    leader = trio.leader()
    for name in trio.nodes:
        awaited = trio.raftadmin(trio.nodes[name].address, "await", "deadbeef")
        assert 'desc = token "deadbeef" unknown' in awaited.stderr, name == leader
        assert awaited.returncode == 1
        trio.check_raftadmin(trio.nodes[name].address, "forget", "deadbeef")
