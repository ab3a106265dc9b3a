"""What docs/simulation.md shows works as it is written."""

import re
import subprocess
from pathlib import Path

import pytest

from pyraft_lite.core.entry import Entry
from pyraft_lite.sim import PROFILES, Simulation, Violation

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "docs" / "simulation.md").read_text()


def example() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return str(code)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example(), "docs/simulation.md", "exec"), {"__name__": "example"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"[1-9]\d* changes, [1-9]\d* answers explained, [1-9]\d* faults", line) for line in lines)


def test_a_mistake_in_the_examples_state_machine_is_found() -> None:
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(example().split("for seed in")[0], "docs/simulation.md", "exec"), names)

    def apply(account: object, entry: Entry) -> bool:
        account.cents += int(entry.data)  # type: ignore[attr-defined]
        return True

    names["Account"].apply = apply  # type: ignore[attr-defined]
    with pytest.raises(Violation, match="linearizability"):
        Simulation(2, workload=names["Customers"]()).run()  # type: ignore[operator]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE))
def test_the_commands_run(command: str) -> None:
    subprocess.run(command, cwd=ROOT, shell=True, check=True, stdout=subprocess.DEVNULL)


def test_all_profiles_are_named() -> None:
    assert [name for name in PROFILES if f"`{name}`" not in TEXT] == []
