"""The house is in order: imports point one way, and what is generated is current."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_imports_point_one_way_and_the_core_touches_nothing_outside() -> None:
    result = run(str(Path(sys.executable).parent / "lint-imports"))
    assert result.returncode == 0, result.stdout


def test_generated_code_is_what_the_proto_files_say() -> None:
    result = run(sys.executable, "scripts/generate", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_cmd_is_no_package_since_it_would_shadow_the_standard_library() -> None:
    assert not (ROOT / "cmd" / "__init__.py").exists()


def test_the_programs_are_imported_by_nobody() -> None:
    sources = [path for path in (ROOT / "src").rglob("*.py") if "cmd" not in path.parts]
    assert not [path for path in sources if "raftexample.cmd" in path.read_text() and path.name != "local_cluster.py"]
