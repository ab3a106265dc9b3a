"""A client that knows none of the services learns of them by reflection and health, alike on both kinds."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from mixed_cluster import MixedCluster

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def connect(cluster: MixedCluster, name: str) -> grpc.Channel:
    return grpc.insecure_channel(cluster.nodes[name].address, options=(("grpc.enable_http_proxy", 0),))


@pytest.mark.parametrize("name", ["go1", "py1"])
def test_a_call_is_made_with_what_reflection_says_alone(tmp_path: Path, name: str) -> None:
    with MixedCluster(tmp_path, (name,)) as cluster:
        cluster.form()
        with connect(cluster, name) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            assert {"Example", "RaftAdmin", "RaftTransport", "grpc.health.v1.Health"} <= set(database.get_services())
            method = DescriptorPool(database).FindServiceByName("RaftAdmin").methods_by_name["GetConfiguration"]
            call = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            response = call(GetMessageClass(method.input_type)(), timeout=10)
            assert [server.id for server in response.servers] == [name]


@pytest.mark.parametrize("names", [("go1", "py1"), ("py1", "go1")], ids="-".join)
def test_health_says_who_leads_and_tells_at_once_when_that_changes(tmp_path: Path, names: tuple[str, str]) -> None:
    leader, other = names
    with MixedCluster(tmp_path, names) as cluster:
        cluster.form()
        with connect(cluster, leader) as first, connect(cluster, other) as second:
            health, others_health = health_pb2_grpc.HealthStub(first), health_pb2_grpc.HealthStub(second)
            everywhere = health_pb2.HealthCheckRequest()
            assert health.Check(everywhere, timeout=10).status == SERVING
            assert others_health.Check(everywhere, timeout=10).status == SERVING
            for service in ("Example", "quis.RaftLeader"):
                request = health_pb2.HealthCheckRequest(service=service)
                assert health.Check(request, timeout=10).status == SERVING
                assert others_health.Check(request, timeout=10).status == NOT_SERVING
            request = health_pb2.HealthCheckRequest(service="quis.RaftLeader")
            loses, gains = health.Watch(request, timeout=60), others_health.Watch(request, timeout=60)
            assert [next(loses).status, next(gains).status] == [SERVING, NOT_SERVING]
            cluster.transfer(other)
            assert [next(loses).status, next(gains).status] == [NOT_SERVING, SERVING]
            with pytest.raises(grpc.RpcError) as error:
                health.Check(health_pb2.HealthCheckRequest(service="no such service"), timeout=10)
            assert error.value.code() is grpc.StatusCode.NOT_FOUND
