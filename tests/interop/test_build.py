"""What scripts/interop says where it can't work."""

import shutil
import subprocess
from pathlib import Path

from mixed_cluster import ROOT


def test_without_apt_there_is_one_clear_line(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    result = subprocess.run(
        [tmp_path / "bash", ROOT / "tests" / "interop" / "go" / "build"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("tests/interop/go/build: apt-get is not there: ")
    assert result.stderr.count("\n") == 1
