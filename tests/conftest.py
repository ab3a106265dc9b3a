"""What holds for all tests."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import settings

import engines
from pyraft_lite.rpc.engine import available_engines


def pytest_addoption(parser: pytest.Parser) -> None:
    names = available_engines()
    parser.addoption("--grpc-engine", choices=names, default=names[0], help="what serves the ports (%(default)s)")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the event loop that nodes run on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    engines.chosen = config.getoption("--grpc-engine")


# How long an example takes says more of the machine than of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
