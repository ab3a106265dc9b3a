"""What docs/using-the-library.md shows is run here, or is in the example as it is shown."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from raftexample.local_cluster import free_ports
from test_readme import COMMAND, ROOT, processes_of_session

BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("50061", "50062", "50063")

BLOCKS = BLOCK.findall((ROOT / "docs" / "using-the-library.md").read_text())
COMMANDS = [command for kind, block in BLOCKS if kind == "console" for command in COMMAND.findall(block)]
CLIENT, *EXCERPTS = [block for kind, block in BLOCKS if kind == "python"]


def test_excerpts_are_in_the_example_as_they_are_shown() -> None:
    example = (ROOT / "examples" / "kv_store.py").read_text()
    assert len(EXCERPTS) == 5
    assert not [excerpt for excerpt in EXCERPTS if excerpt not in example]


@pytest.mark.timeout(120)
def test_the_walk_through_works_as_it_is_written(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "setup"], check=True)  # so that it has nothing left to do in the copy
    for name in ("scripts", "examples", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    client = CLIENT
    # Job control, for the walk-through's %1; the last waits fail unless the nodes that were not killed end with 0.
    script = "\n".join(["set -me", *COMMANDS, "kill %2 %3", "wait %2", "wait %3"])
    for written, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        client, script = client.replace(written, str(free)), script.replace(written, str(free))
    (tmp_path / "client.py").write_text(client)
    (tmp_path / "walk-through").write_text(script)
    output, errors = tmp_path / "output", tmp_path / "errors"
    with output.open("w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(
            ["bash", "walk-through"], cwd=tmp_path, stdout=stdout, stderr=stderr, start_new_session=True
        )
    try:
        process.wait(60)
    finally:
        for pid in processes_of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == 0, errors.read_text()
    assert output.read_text().splitlines() == ["colour was None, is red", "colour was red, is red"]
