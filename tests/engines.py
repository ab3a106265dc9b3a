"""The engine that the tests' servers run on, where a test does not choose one itself: ``pytest --grpc-engine``."""

from pyraft_lite.rpc.engine import ServerEngine, available_engines, new_engine

chosen = available_engines()[0]


def chosen_engine() -> ServerEngine:
    """A new engine; calls under way get no time to end when it stops."""
    return new_engine(chosen)
