"""raftadmin as a program: what it prints, and how it ends, is what the Go original was seen to do."""

import asyncio
import re

import pytest
from google.protobuf import message_factory, text_format
from google.protobuf.message import Message

from admin.scripted_raft import ScriptedRaft, run, serving
from admin.transcripts import Run, normal, runs
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.errors import RaftError
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.runtime.api import Leader, State

SERVICE = pb.DESCRIPTOR.services_by_name["RaftAdmin"]

RECORDED = {recorded.name: recorded for recorded in runs("transcript-B.txt")}

ANSWERED = [
    *(f"ra-{spelling}" for spelling in ("camelcase", "kebab", "mixedcase", "lowercamel", "spaces", "upper")),
    *(f"ra-{question}-on-leader" for question in ("get_configuration", "stats", "state", "leader", "last_index")),
    *(f"ra-{operation}-on-leader" for operation in ("verify_leader", "barrier", "apply_log", "snapshot")),
    *(f"ra-{operation}-on-follower" for operation in ("leadership_transfer", "ltts", "barrier", "apply_log", "state")),
    *("ra-readme-1-add_voter-B", "ra-apply_log-with-ext", "ra-apply_log-empty", "ra-config-after-demote"),
    *("ra-add_voter-prev-index-mismatch", "ra-add_voter-empty-id", "ra-add_voter-empty-address"),
    *("ra-add_nonvoter-down", "ra-demote_voter", "ra-remove_server-follower", "ra-ltts-to-B-or-C-wrong-address"),
    *("ra-await-unknown", "ra-forget-unknown", "ra-leader-on-removed", "ra-state-of-removed-leader"),
]
"""One of each command, and of each kind of answer."""

REFUSED = [
    *("ra-noargs", "ra-onearg", "ra-unknown-command", "ra-flag-after-target"),
    *(name for name in RECORDED if name.startswith("ra-wrong-argcount-")),
]

BAD_NUMBERS = ["ra-bad-uint", "ra-neg-uint", "ra-huge-uint"]


OPERATIONS = [
    *("apply", "barrier", "add_voter", "add_nonvoter", "demote_voter", "remove_server"),
    *("leadership_transfer", "snapshot", "verify_leader", "shutdown"),
]


def final_response(recorded: Run) -> Message | None:
    """The last response that was printed, None if it is an RPC error."""
    method, _, answer = recorded.stderr.rpartition("Invoking ")[2].partition("(")
    if "Response:" not in answer:
        return None
    response = message_factory.GetMessageClass(SERVICE.methods_by_name[method].output_type)()
    text_format.Parse(answer.partition("Response:")[2], response)
    return response


def answering(response: Message | None) -> ScriptedRaft:
    """A node that answers whatever it is asked as the recorded one did."""
    raft = ScriptedRaft()
    match response:
        case pb.AwaitResponse():
            outcome = RaftError(response.error) if response.error else response.index
            raft.outcomes = dict.fromkeys(OPERATIONS, outcome)
        case pb.AppliedIndexResponse():
            raft.applied_index = response.index
        case pb.LastIndexResponse():
            raft.last_index = response.index
        case pb.LeaderResponse():
            raft.leader = Leader("some", response.address)
        case pb.StateResponse():
            raft.state = State(response.state)
        case pb.StatsResponse():
            raft.counters = dict(response.stats)
        case pb.GetConfigurationResponse():
            servers = (Server(server.id, server.address, Suffrage(server.suffrage)) for server in response.servers)
            raft.configuration = Configuration(tuple(servers))
    return raft


@pytest.mark.parametrize("name", ANSWERED)
async def test_an_answer_looks_as_the_originals(name: str) -> None:
    recorded = RECORDED[name]
    response = final_response(recorded)
    async with serving(answering(response)) as address:
        code, output, errors = await run("raftadmin", address, *recorded.arguments[1:])
    assert normal(errors) == recorded.stderr
    assert output == ""
    failed = isinstance(response, pb.AwaitResponse) and bool(response.error)
    assert code == (1 if failed else recorded.code)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_usage_error_reads_as_the_originals(name: str) -> None:
    recorded = RECORDED[name]
    code, output, errors = await run("raftadmin", *recorded.arguments)
    assert (code, output, normal(errors)) == (recorded.code, "", recorded.stderr)


@pytest.mark.parametrize("name", BAD_NUMBERS)
async def test_a_bad_number_reads_as_the_originals_and_says_what_would_be_right(name: str) -> None:
    recorded = RECORDED[name]
    code, _, errors = await run("raftadmin", *recorded.arguments)
    assert code == recorded.code
    right = "previous_index must be a whole number from 0 to 18446744073709551615"
    assert normal(errors) == f"{recorded.stderr}: {right}"


@pytest.mark.parametrize(
    "number", ["", "1.5", "+1", "1_000", "\N{ARABIC-INDIC DIGIT ONE}", "18446744073709551616", "9" * 5000]
)
async def test_what_is_no_unsigned_64_bit_number_is_refused(number: str) -> None:
    code, _, errors = await run("raftadmin", "localhost:1", "remove_server", "nodeA", number)
    assert code == 1
    assert f'parsing "{number}": ' in errors


@pytest.mark.parametrize("number", ["0", "18446744073709551615", "0" * 30 + "7"])
async def test_every_unsigned_64_bit_number_is_taken(number: str) -> None:
    raft = ScriptedRaft()
    async with serving(raft) as address:
        code, _, _ = await run("raftadmin", address, "remove_server", "nodeA", number)
    assert (code, raft.calls) == (0, [("remove_server", "nodeA", int(number))])


async def test_a_line_begins_with_the_time_as_gos_log_package_has_it() -> None:
    _, _, errors = await run("raftadmin", "localhost:1", "frobnicate")
    assert re.fullmatch(r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d unknown command "frobnicate"\n', errors)


async def test_an_outcome_that_was_printed_is_forgotten() -> None:
    async with serving(ScriptedRaft()) as address:
        code, _, errors = await run("raftadmin", address, "barrier")
        assert code == 0
        token = errors.partition('operation_token: "')[2][:40]
        code, _, errors = await run("raftadmin", address, "await", token)
    assert code == 1
    assert errors.endswith(f'rpc error: code = Unknown desc = token "{token}" unknown\n')


async def test_when_the_time_is_up_it_says_how_to_ask_again_and_then_prints_the_outcome_as_often_as_asked() -> None:
    under_way: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with serving(ScriptedRaft(outcomes={"barrier": under_way})) as address:
        code, _, errors = await run("raftadmin", "--timeout", "0.1", address, "barrier")
        assert code == 1
        line = errors.splitlines()[-1]
        resume = re.search(r"no answer from \S+ within 0\.6 s; .* ask again: (await [0-9a-f]{40})$", line)
        assert resume, line
        under_way.set_exception(RaftError("it was too much"))
        for _ in range(2):
            code, _, errors = await run("raftadmin", address, *resume[1].split())
            assert code == 1
            assert errors.endswith('Response: error: "it was too much"\n')


async def test_bytes_that_are_no_utf8_are_data_and_no_names() -> None:
    raft = ScriptedRaft()
    async with serving(raft) as address:
        code, _, errors = await run("raftadmin", address, "apply_log", b"\xff'\"\n", "é")
        assert code == 0, errors
        assert r'Invoking ApplyLog(data: "\xff' in errors
        assert r"""\xff'\"\n""" in errors
        code, _, errors = await run("raftadmin", address, "remove_server", b"\xff", "0")
        assert code == 1
        assert r"invalid id b'\xff': must be UTF-8" in errors
    assert raft.calls == [("apply", b"\xff'\"\n", "é".encode())]


# -- flags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h", "-help"])
async def test_help_is_no_error(flag: str) -> None:
    code, output, errors = await run("raftadmin", flag)
    assert (code, errors) == (0, "")
    for name in ("--leader", "--health_check_service", "--timeout", "TARGET COMMAND"):
        assert name in output


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--nope"], "--nope"),
        (["--timeout", "soon"], "soon"),
        (["--timeout", "0"], "0"),
        (["--timeout", "-1"], "-1"),
        (["--timeout", "nan"], "nan"),
        (["--timeout", "inf"], "inf"),
        (["--timeout", "1e9"], "86400"),
    ],
)
async def test_a_bad_flag_is_a_usage_error_that_names_it(flags: list[str], named: str) -> None:
    code, _, errors = await run("raftadmin", *flags, "localhost:1", "state")
    assert code == 2
    assert named in errors.splitlines()[-1]


@pytest.mark.parametrize("dashes", ["-", "--"])
async def test_flags_may_have_one_dash_as_gos(dashes: str) -> None:
    flags = (f"{dashes}leader", f"{dashes}timeout=5", f"{dashes}health_check_service", "Example")
    async with serving(ScriptedRaft(State.LEADER)) as address:
        code, _, errors = await run("raftadmin", *flags, address, "state")
    assert (code, normal(errors)) == (0, "Invoking State()\nResponse: state: LEADER")


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["", "localhost", "foo:///localhost:1", "multi:///", "multi://localhost:1", b"\xff:1"]
)
async def test_a_bad_target_is_named_with_what_would_be_right(target: str | bytes) -> None:
    code, _, errors = await run("raftadmin", target, "state")
    assert code == 1
    shown = ascii(target) if isinstance(target, str) else r"'\udcff:1'"
    assert normal(errors) == (
        f"invalid target {shown}: want host:port, dns:///host:port or multi:///host:port,host:port,…"
    )


async def test_a_node_that_cannot_be_reached_is_named_with_the_reason() -> None:
    async with serving(ScriptedRaft()) as gone:
        pass
    code, _, errors = await run("raftadmin", "--timeout", "0.3", gone, "state")
    assert code == 1
    start = f"rpc error: code = Unavailable desc = no connection to {gone} within 0.3 s: "
    assert normal(errors).startswith(start)
    assert "refused" in errors


async def test_of_several_nodes_any_that_is_up_is_asked() -> None:
    async with serving(ScriptedRaft()) as gone:
        pass
    async with serving(ScriptedRaft(State.CANDIDATE)) as address:
        code, _, errors = await run("raftadmin", f"multi:///{gone},{address}", "state")
    assert (code, normal(errors)) == (0, "Invoking State()\nResponse: state: CANDIDATE")


async def test_with_leader_the_one_that_leads_is_asked() -> None:
    follower, leader = ScriptedRaft(State.FOLLOWER), ScriptedRaft(State.LEADER)
    async with serving(follower) as one, serving(leader) as other:
        code, _, _ = await run("raftadmin", "--leader", f"multi:///{one},{other}", "barrier")
    assert (code, follower.calls, leader.calls) == (0, [], [("barrier",)])


async def test_with_leader_it_waits_until_there_is_one() -> None:
    raft = ScriptedRaft(State.FOLLOWER)
    async with serving(raft) as address:
        asked = asyncio.create_task(run("raftadmin", "--leader", address, "barrier"))
        await raft.watched.wait()
        raft.become(State.LEADER)
        assert (await asked)[0] == 0


@pytest.mark.parametrize(("flags", "service"), [([], "quis.RaftLeader"), (["--health_check_service", "X"], "X")])
async def test_without_a_leader_it_says_so(flags: list[str], service: str) -> None:
    state = State.FOLLOWER if service == "quis.RaftLeader" else State.LEADER
    async with serving(ScriptedRaft(state)) as address:
        code, _, errors = await run("raftadmin", "--leader", "--timeout", "0.3", *flags, address, "state")
    assert code == 1
    assert normal(errors) == (
        f"rpc error: code = Unavailable desc = no leader found at {address} within 0.3 s: "
        f'no node has "{service}" SERVING'
    )


async def test_the_outcome_is_asked_of_the_node_that_has_it_wherever_leadership_has_gone() -> None:
    old, new = ScriptedRaft(State.LEADER), ScriptedRaft(State.FOLLOWER)

    def hand_over(*_: object) -> int:
        old.become(State.FOLLOWER)
        new.become(State.LEADER)
        return 0

    old.outcomes["leadership_transfer"] = hand_over
    async with serving(old) as one, serving(new) as other:
        code, _, errors = await run("raftadmin", "--leader", f"multi:///{one},{other}", "leadership_transfer")
    assert code == 0, errors
    assert errors.endswith("Response:\n")
