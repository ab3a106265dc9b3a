"""Server reflection, so that tools such as grpcurl can ask a node what it serves."""

from collections.abc import Iterable

from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from pyraft_lite.rpc.engine import HandlerRegistry


def add_reflection(engine: HandlerRegistry, services: Iterable[str]) -> None:
    """Adds the reflection service to ``engine``.

    Args:
        engine: What serves the port.
        services: Full names of the services to list; reflection itself is listed with them.
    """
    names = [*services, reflection.SERVICE_NAME]
    servicer = reflection.aio.ReflectionServicer(names)  # type: ignore[attr-defined]
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, engine)
