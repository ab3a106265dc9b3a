"""What a node says it serves."""

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from peers import listening

from engines import chosen_engine
from pyraft_lite.rpc.pb import example_pb2
from pyraft_lite.rpc.reflection import add_reflection


async def ask(request: ServerReflectionRequest) -> ServerReflectionResponse:
    engine = chosen_engine()
    add_reflection(engine, ["Example", "RaftAdmin", "RaftTransport", "grpc.health.v1.Health"])
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        call = ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        (response,) = [response async for response in call]
        return response


async def test_all_services_are_listed() -> None:
    response = await ask(ServerReflectionRequest(list_services=""))
    assert [service.name for service in response.list_services_response.service] == [
        "Example",
        "RaftAdmin",
        "RaftTransport",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    ]


async def test_a_service_is_described_by_its_file() -> None:
    response = await ask(ServerReflectionRequest(file_containing_symbol="Example"))
    (file,) = response.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(file).service[0].name == "Example"
    assert file == example_pb2.DESCRIPTOR.serialized_pb
