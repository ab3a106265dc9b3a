"""What docs/using-the-library.md shows is run here, or is in the example as it is shown."""

import subprocess
from pathlib import Path

import pytest

from walk_through import ROOT, blocks, commands, kept_ports, run

DOCUMENT = "docs/using-the-library.md"

CLIENT, *EXCERPTS = blocks(DOCUMENT, "python")


def test_excerpts_are_in_the_example_as_they_are_shown() -> None:
    example = (ROOT / "examples" / "kv_store.py").read_text()
    assert len(EXCERPTS) == 5
    assert not [excerpt for excerpt in EXCERPTS if excerpt not in example]


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("documented ports")
def test_the_walk_through_works_as_it_is_written(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "setup"], check=True)  # so that it has nothing left to do in the copy
    for name in ("scripts", "examples", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "client.py").write_text(CLIENT)
    # Of three nodes it kills the first; the others must end well.
    ends_well = ["kill %2 %3", "wait %2", "wait %3"]
    with kept_ports((50061, 50062, 50063)):
        output, _ = run([*commands(DOCUMENT), *ends_well], tmp_path, patience=60)
    assert output.splitlines() == ["colour was None, is red", "colour was red, is red"]
