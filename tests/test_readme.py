"""Every command in the README is run here, in order, as a reader would type them."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RUNS_THIS = "scripts/test"
"""The one command that can't be run by a test, since it runs the tests."""

HAMMER_LINE = re.compile(
    r'^read_at_index:\d+ best_words:"éénduizend negenhonderdnegenennegentig" '
    r'best_words:"éénduizend negenhonderdnegenenzeventig" best_words:"éénduizend negenhonderdzevenennegentig"$',
    re.MULTILINE,
)


def readme_commands() -> list[str]:
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    return [command for block in blocks for command in COMMAND.findall(block)]


def processes_of_session(session: int) -> list[int]:
    found = []
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == session:
                found.append(pid)
    return found


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("default ports")
def test_the_readme_works_as_it_is_written(tmp_path: Path) -> None:
    commands = readme_commands()
    assert commands[:2] == ["scripts/demo", RUNS_THIS]
    subprocess.run([ROOT / "scripts" / "setup"], check=True)  # so that it has nothing left to do in the copy
    for name in ("scripts", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    script = tmp_path / "walk-through"
    # Job control, for the walk-through's %1; the last wait fails unless every node ends with 0.
    script.write_text("\n".join(["set -me", *(c for c in commands if c != RUNS_THIS), "wait -n", "wait -n", "wait -n"]))
    process = subprocess.Popen(
        ["bash", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        raise
    finally:
        for pid in processes_of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert len(HAMMER_LINE.findall(output)) == 2, "the demo's and the walk-through's hammer"
    assert "Invoking AddVoter" in errors
    assert (tmp_path / "my-cluster" / "nodeA" / "data.mdb").exists()


def test_the_script_that_runs_the_tests_is_there() -> None:
    assert (ROOT / RUNS_THIS).stat().st_mode & 0o111
