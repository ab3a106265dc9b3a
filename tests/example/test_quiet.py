"""What grpc has to say is not shown unless it is asked for."""

import os
import subprocess
import sys

import pytest

SCRIPT = "import os, sys, raftexample; print(os.environ['GRPC_VERBOSITY'], 'grpc' in sys.modules)"


@pytest.mark.parametrize(("environment", "shown"), [({}, "ERROR"), ({"GRPC_VERBOSITY": "debug"}, "debug")])
def test_grpc_is_told_to_be_quiet_before_it_is_imported_unless_the_user_wants_it_otherwise(
    environment: dict[str, str], shown: str
) -> None:
    others = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=others | environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{shown} False\n"
