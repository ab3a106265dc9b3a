"""hammer as a program, against nodes that do what a test tells them."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest

from admin.scripted_raft import ScriptedRaft, run, serving
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import CommandTooLargeError, LeadershipLostError, NotLeaderError, RaftError
from pyraft_lite.runtime.api import State
from raftexample.application import ExampleService, WordTracker
from raftexample.dutch import number_word
from raftexample.hammering import WordList
from raftexample.local_cluster import program

LINE = (
    'read_at_index:{} best_words:"éénduizend negenhonderdnegenennegentig" '
    'best_words:"éénduizend negenhonderdnegenenzeventig" best_words:"éénduizend negenhonderdzevenennegentig"\n'
)
ALL_WORDS = {number_word(number) for number in range(1, 2000)}


class Cluster:
    """Nodes that share one log, of which one leads; ``at`` says what happens when so many words are in."""

    def __init__(self, nodes: int = 1) -> None:
        self.log: list[str] = []
        self.tracker = WordTracker()
        self.at: dict[int, Callable[[], RaftError | None]] = {}
        self.nodes: list[ScriptedRaft] = []
        for number in range(nodes):
            node = ScriptedRaft(State.FOLLOWER if number else State.LEADER)
            node.outcomes["apply"] = lambda data, _, node=node: self._apply(node, data)
            self.nodes.append(node)

    def _apply(self, node: ScriptedRaft, data: bytes) -> RaftError | int:
        if node.state is not State.LEADER:
            return NotLeaderError()
        if (happens := self.at.pop(len(self.log), None)) and (error := happens()):
            return error
        self.log.append(data.decode())
        for each in self.nodes:
            each.applied_index = len(self.log)
        self.tracker.apply(Entry(len(self.log), 1, EntryType.COMMAND, data))
        return len(self.log)

    def lead(self, number: int) -> None:
        """Makes this node the leader."""
        for node in self.nodes:
            if node.state is State.LEADER:
                node.become(State.FOLLOWER)
        self.nodes[number].become(State.LEADER)

    def service(self, number: int) -> ExampleService:
        return ExampleService(self.nodes[number], self.tracker)


async def test_all_words_are_added_and_one_line_is_printed() -> None:
    cluster = Cluster()
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        result = await run("hammer", "--target", address)
    assert result == (0, LINE.format(1999), "")
    assert len(cluster.log) == 1999
    assert set(cluster.log) == ALL_WORDS


async def test_leadership_may_move_and_calls_may_be_lost_meanwhile() -> None:
    cluster = Cluster(2)

    def moves_to(number: int) -> Callable[[], RaftError]:
        def move() -> RaftError:
            cluster.lead(number)
            return LeadershipLostError()

        return move

    cluster.at = {100: moves_to(1), 500: moves_to(0), 501: moves_to(1), 1990: moves_to(0)}
    async with (
        serving(cluster.nodes[0], cluster.service(0)) as one,
        serving(cluster.nodes[1], cluster.service(1)) as other,
    ):
        result = await run("hammer", "--target", f"multi:///{one},{other}")
    assert result == (0, LINE.format(1999), "")
    assert set(cluster.log) == ALL_WORDS
    assert not cluster.at


async def test_the_leader_may_end_with_calls_under_way() -> None:
    cluster = Cluster(2)
    full = asyncio.Event()
    hold: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def stop_answering() -> None:
        cluster.nodes[0].outcomes["apply"] = hold
        full.set()

    cluster.at = {300: stop_answering}
    async with serving(cluster.nodes[1], cluster.service(1)) as other:
        async with serving(cluster.nodes[0], cluster.service(0)) as one:
            hammered = asyncio.create_task(run("hammer", "--target", f"multi:///{one},{other}"))
            await full.wait()
        cluster.lead(1)
        code, output, _ = await hammered
    assert (code, output) == (0, LINE.format(len(cluster.log)))
    assert set(cluster.log) == ALL_WORDS


async def test_a_word_that_finally_fails_is_named_with_the_reason() -> None:
    cluster = Cluster()
    cluster.at = {10: lambda: CommandTooLargeError("too large")}
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        code, output, errors = await run("hammer", "--target", address)
    assert (code, output) == (1, "")
    [line] = errors.splitlines()
    assert line.startswith('hammer: AddWord("')
    assert line.endswith('") failed: INVALID_ARGUMENT: too large')


async def test_get_words_that_fails_is_named() -> None:
    cluster = Cluster()

    class NoReading(ExampleService):
        async def GetWords(self, request: object, context: object) -> None:  # type: ignore[override]
            await context.abort(grpc.StatusCode.INTERNAL, "no reading")  # type: ignore[attr-defined]

    async with serving(cluster.nodes[0], NoReading(cluster.nodes[0], cluster.tracker)) as address:
        result = await run("hammer", "--target", address)
    assert result == (1, "", "hammer: GetWords failed: INTERNAL: no reading\n")


async def test_without_a_leader_it_gives_up_in_time_and_without_a_node_as_well() -> None:
    async with serving(ScriptedRaft(State.FOLLOWER)) as address:
        results = [await run("hammer", "--target", address, "--timeout", "0.3")]
    results.append(await run("hammer", "--target", address, "--timeout", "0.3"))
    for code, output, errors in results:
        assert (code, output) == (1, "")
        assert errors.startswith('hammer: AddWord("')
        assert errors.endswith('") failed: no leader answered within 0.3 s\n')


@pytest.mark.parametrize("target", ["", "localhost", "multi:///", "foo:///localhost:1"])
async def test_a_bad_target_is_named_with_what_would_be_right(target: str) -> None:
    assert await run("hammer", "--target", target) == (
        1,
        "",
        f"hammer: invalid target {target!r}: want host:port, dns:///host:port or multi:///host:port,host:port,…\n",
    )


async def test_as_many_words_are_taken_together_as_a_request_holds() -> None:
    words = WordList(iter(["een", "twee", "drie"]), 2, lambda _: None)
    assert [[word.text for word in await words.take()] for _ in range(3)] == [["een", "twee"], ["drie"], []]


@pytest.mark.parametrize("concurrency", ["1", "10", "100"])
@pytest.mark.parametrize("mode", ["unary", "stream"])
async def test_the_same_words_are_added_by_so_many_callers_or_streams(mode: str, concurrency: str) -> None:
    cluster = Cluster()
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        result = await run("hammer", "--target", address, "--mode", mode, "--concurrency", concurrency)
    assert result == (0, LINE.format(1999), "")
    assert len(cluster.log) == 1999
    assert set(cluster.log) == ALL_WORDS


async def test_leadership_may_move_while_words_are_streamed() -> None:
    cluster = Cluster(2)

    def moves_to(number: int) -> Callable[[], RaftError]:
        def move() -> RaftError:
            cluster.lead(number)
            return LeadershipLostError()

        return move

    cluster.at = {100: moves_to(1), 500: moves_to(0), 501: moves_to(1), 1990: moves_to(0)}
    async with (
        serving(cluster.nodes[0], cluster.service(0)) as one,
        serving(cluster.nodes[1], cluster.service(1)) as other,
    ):
        code, output, errors = await run("hammer", "--target", f"multi:///{one},{other}", "--mode", "stream")
    assert (code, errors) == (0, "")
    # Those whose answers were lost are there twice.
    longest = f'best_words:"{number_word(1999)}" '
    assert output.startswith(f"read_at_index:{len(cluster.log)} {longest}")
    assert set(cluster.log) == ALL_WORDS
    assert not cluster.at


async def test_a_streamed_word_that_finally_fails_is_named_with_the_reason() -> None:
    cluster = Cluster()

    def refuse() -> RaftError:
        """However often it is sent: a client that is late to learn why its stream ended sends it again."""
        cluster.at[1000] = refuse
        return CommandTooLargeError("too large")

    cluster.at = {1000: refuse}
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        code, output, errors = await run("hammer", "--target", address, "--mode", "stream", "--concurrency", "1")
    assert (code, output) == (1, "")
    assert errors == f'hammer: AddWords("{number_word(1001)}", …) failed: INVALID_ARGUMENT: too large\n'


@pytest.mark.parametrize("mode", ["unary", "stream"])
async def test_words_are_added_for_a_while_and_the_figures_printed(mode: str) -> None:
    cluster = Cluster()
    flags = ("--mode", mode, "--duration", "0.3", "--size", "20")
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        code, output, errors = await run("hammer", "--target", address, *flags)
        assert (code, errors) == (0, "")
        figures = re.fullmatch(
            r"acknowledged:(\d+) words_per_second:([\d.]+) p50_ms:([\d.]+) p99_ms:([\d.]+) errors:0\n", output
        )
        assert figures
        assert int(figures[1]) == len(cluster.log) == len(set(cluster.log)) > 0
        assert all(float(figure) > 0 for figure in figures.groups())
        assert {len(word) for word in cluster.log} == {20}
        before = len(cluster.log)
        code, output, errors = await run("hammer", "--target", address, *flags, "--json")
    assert (code, errors) == (0, "")
    summary = json.loads(output)
    assert summary["acknowledged"] == len(cluster.log) - before
    assert list(summary) == ["acknowledged", "words_per_second", "p50_ms", "p99_ms", "errors", "first_error"]
    assert (summary["errors"], summary["first_error"]) == (0, "")


@pytest.mark.parametrize("mode", ["unary", "stream"])
async def test_at_a_rate_there_are_exactly_the_words_that_were_due(mode: str) -> None:
    cluster = Cluster()
    flags = ("--mode", mode, "--duration", "0.5", "--rate", "400", "--json")
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        code, output, errors = await run("hammer", "--target", address, *flags)
    assert (code, errors) == (0, "")
    assert json.loads(output)["acknowledged"] == len(cluster.log) == 200
    assert {len(word) for word in cluster.log} == {16}


async def test_words_that_fail_are_counted_and_the_first_is_explained() -> None:
    follower = ScriptedRaft(State.FOLLOWER)
    for mode, name in (("unary", 'AddWord("xx1")'), ("stream", 'AddWords("xx1", …)')):
        flags = ("--mode", mode, "--duration", "0.2", "--timeout", "0.3", "--concurrency", "1", "--size", "3")
        async with serving(follower) as address:
            code, output, errors = await run("hammer", "--target", address, *flags)
        assert code == 1
        assert re.fullmatch(r"acknowledged:0 words_per_second:0.0 p50_ms:None p99_ms:None errors:[1-9]\d*\n", output)
        assert re.fullmatch(r"hammer: \d+ words failed, the first thus: (.+)\n", errors)
        assert f"{name} failed: no " in errors


async def test_what_can_not_succeed_ends_it_at_once() -> None:
    async with serving(ScriptedRaft()) as address:  # serves no Example
        for mode, name in (("unary", "AddWord"), ("stream", "AddWords")):
            code, output, errors = await run("hammer", "--target", address, "--mode", mode, "--duration", "60")
            assert (code, output) == (1, "")
            assert errors.startswith(f'hammer: {name}("xxxxxxxxxx')
            assert errors.endswith("failed: UNIMPLEMENTED: Method not found!\n")


@pytest.mark.parametrize(
    "flags",
    [["--mode", "both"], ["--concurrency", "0"], ["--duration", "0"], ["--duration", "1", "--rate", "0"]]
    + [["--duration", "1", "--size", str(size)] for size in (0, 4 * 1024 * 1024)],
)
async def test_a_value_out_of_range_is_named_with_what_would_be_right(flags: list[str]) -> None:
    code, output, errors = await run("hammer", *flags)
    assert (code, output) == (2, "")
    last = errors.splitlines()[-1]
    assert last.startswith(f"Error: Invalid value for '{flags[-2]}': ")
    assert "range" in last or "'unary', 'stream'" in last


@pytest.mark.parametrize("flags", [["--rate", "5"], ["--size", "5"], ["--json"]])
async def test_what_goes_with_a_duration_only_says_so(flags: list[str]) -> None:
    code, output, errors = await run("hammer", *flags)
    assert (code, output) == (2, "")
    expected = f"Error: {flags[0]} needs --duration: without it, hammer adds the words for 1 to 1999"
    assert errors.splitlines()[-1] == expected


@pytest.mark.parametrize("flags", [["--nope"], ["--timeout", "nan"], ["--timeout", "0"], ["argument"]])
async def test_a_bad_flag_is_a_usage_error(flags: list[str]) -> None:
    code, output, errors = await run("hammer", *flags)
    assert (code, output) == (2, "")
    assert flags[-1] in errors.splitlines()[-1]


async def test_the_target_is_by_default_that_of_the_readme() -> None:
    _, output, _ = await run("hammer", "--help")
    assert "multi:///localhost:50051,localhost:50052,localhost:50053" in "".join(output.split())


def test_it_starts_without_what_its_own_job_does_not_need() -> None:
    listing = "import sys, raftexample.cmd.hammer; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True).stdout.split()
    assert "raftexample.cmd.hammer" in modules
    needless = ("pyraft_lite.core", "pyraft_lite.runtime", "raftexample.hammering_streams", "raftexample.load")
    assert not [module for module in modules if module.startswith(needless)]


async def test_on_a_terminal_it_shows_how_far_it_is_and_stdout_stays_one_line() -> None:
    cluster = Cluster()
    terminal, errors = pty.openpty()
    shown = b""
    async with serving(cluster.nodes[0], cluster.service(0)) as address:
        process = await asyncio.create_subprocess_exec(
            *program("hammer"), "--target", address, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
        os.close(errors)
        os.set_blocking(terminal, False)

        def read() -> None:
            nonlocal shown
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # The program's end is closed.
                asyncio.get_running_loop().remove_reader(terminal)

        asyncio.get_running_loop().add_reader(terminal, read)
        output, _ = await process.communicate()
        read()
        asyncio.get_running_loop().remove_reader(terminal)
    os.close(terminal)
    assert (process.returncode, output.decode()) == (0, LINE.format(1999))
    assert b"words" in shown
    assert b"100%" in shown
