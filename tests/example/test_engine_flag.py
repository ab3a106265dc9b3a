"""``--grpc_engine``: which engine serves a node."""

import importlib.util

import pytest
from click.testing import CliRunner

from pyraft_lite.rpc.asyncio_engine import AsyncioEngine
from pyraft_lite.rpc.engine import available_engines, new_engine
from pyraft_lite.rpc.grpcio_engine import GrpcioEngine
from pyraft_lite.rpc.h2corn_engine import H2cornEngine
from raftexample.cmd.raft_example import main


@pytest.fixture
def without_h2corn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_each_engine_has_a_name() -> None:
    assert available_engines() == ("asyncio", "grpcio", "h2corn")
    assert isinstance(new_engine("asyncio"), AsyncioEngine)
    assert isinstance(new_engine("grpcio"), GrpcioEngine)
    assert isinstance(new_engine("h2corn"), H2cornEngine)


@pytest.mark.usefixtures("without_h2corn")
def test_an_engine_that_is_not_installed_is_refused_with_what_installs_it() -> None:
    assert available_engines() == ("asyncio", "grpcio")
    result = CliRunner().invoke(main, ["--raft_id", "nodeA", "--grpc_engine", "h2corn"])
    assert result.exit_code == 2
    assert "h2corn is not installed: pip install 'raftexample[h2corn]' installs it" in result.output


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["--raft_id", "nodeA", "--grpc_engine", "nginx"])
    assert result.exit_code == 2
    assert "'nginx' is not one of 'asyncio', 'grpcio', 'h2corn'" in result.output
