"""Every command in the README is run here, in order, as a reader would type them."""

import re
import subprocess
from pathlib import Path

import pytest

from walk_through import ROOT, commands, kept_ports, run

RUNS_THIS = "scripts/test"
"""The one command that can't be run by a test, since it runs the tests."""

HAMMER_LINE = re.compile(
    r'^read_at_index:\d+ best_words:"éénduizend negenhonderdnegenennegentig" '
    r'best_words:"éénduizend negenhonderdnegenenzeventig" best_words:"éénduizend negenhonderdzevenennegentig"$',
    re.MULTILINE,
)


@pytest.mark.timeout(400)
@pytest.mark.xdist_group("documented ports")
def test_the_readme_works_as_it_is_written(tmp_path: Path) -> None:
    shown = commands("README.md")
    assert shown[:2] == ["scripts/demo", RUNS_THIS]
    subprocess.run([ROOT / "scripts" / "setup"], check=True)  # so that it has nothing left to do in the copy
    for name in ("scripts", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    # The walk-through ends the three nodes; each must end well.
    ends_well = ["wait -n", "wait -n", "wait -n"]
    with kept_ports((50051, 50052, 50053)):
        output, errors = run([*(c for c in shown if c != RUNS_THIS), *ends_well], tmp_path, patience=240)
    assert len(HAMMER_LINE.findall(output)) == 2, "the demo's and the walk-through's hammer"
    assert "Invoking AddVoter" in errors
    assert (tmp_path / "my-cluster" / "nodeA" / "data.mdb").exists()


def test_the_script_that_runs_the_tests_is_there() -> None:
    assert (ROOT / RUNS_THIS).stat().st_mode & 0o111
