"""scripts/simulate, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "simulate.py"

A_BUG = """
import runpy, sys
from pyraft_lite.core import leader
leader.majority_reached = max
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


def test_the_last_line_is_a_json_object_that_sums_up() -> None:
    run = simulate("--seeds", "3", "--first-seed", "5", "--json")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout.splitlines()[-1])
    assert (summary["seeds"], summary["first_seed"], summary["violations"], summary["stuck"]) == (3, 5, 0, 0)
    assert summary["steps_per_second"] > 0
    assert summary["node_hours_per_cpu_minute"] > 0
    assert sum(summary["faults"].values()) > 0


def test_without_a_first_seed_the_seeds_are_fresh() -> None:
    first, second = (simulate("--seeds", "1", "--json") for _ in range(2))
    assert json.loads(first.stdout)["first_seed"] != json.loads(second.stdout)["first_seed"]


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    first, second = (simulate("--seed", "7") for _ in range(2))
    assert "trace" in first.stdout
    assert first.stdout == second.stdout


def test_what_is_found_is_shrunk_and_the_printed_command_shows_it_again() -> None:
    program = A_BUG.format(script=str(SCRIPT))
    found = subprocess.run(
        [sys.executable, "-c", program, "--seeds", "2", "--first-seed", "0", "--jobs", "1"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("seed "))
    violation, command = lines[at], lines[at + 1].split()
    assert "receives from" in found.stdout, "who was sent what"
    again = subprocess.run([sys.executable, "-c", program, *command[1:]], capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1].partition(" s: ")[2] == violation.partition(": ")[2]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--faults", "1"], "--faults and --trace go with --seed"),
        (["--seed", "1", "--faults", "1,x"], "should be numbers such as 1,5,9, or none"),
        (["--profile", "rough"], "'rough' is not one of"),
        (["--seeds", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], error: str) -> None:
    run = simulate(*arguments)
    assert run.returncode == 2
    assert error in run.stderr
