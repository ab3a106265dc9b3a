"""The committed generated code."""

import subprocess
import sys
from pathlib import Path

GENERATE = Path(__file__).parents[2] / "scripts" / "generate"


def test_is_what_the_generator_makes_of_the_schema() -> None:
    result = subprocess.run([sys.executable, GENERATE, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
