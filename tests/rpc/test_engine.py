"""What serves the port."""

import socket

import grpc
import pytest
from peers import listening

from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.engine import CallContext, ServerEngine, available_engines, new_engine
from pyraft_lite.rpc.grpcio_engine import GrpcioEngine
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.listening import ListenError
from pyraft_lite.rpc.pb.example_pb2 import AddWordRequest, AddWordResponse, GetWordsRequest, GetWordsResponse
from pyraft_lite.rpc.pb.example_pb2_grpc import ExampleServicer, ExampleStub, add_ExampleServicer_to_server


class Example(ExampleServicer):
    async def AddWord(self, request: AddWordRequest, context: CallContext) -> AddWordResponse:
        return AddWordResponse(commit_index=len(request.word))

    async def GetWords(self, request: GetWordsRequest, context: CallContext) -> GetWordsResponse:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


@pytest.fixture(params=available_engines())
def engine(request: pytest.FixtureRequest) -> ServerEngine:
    engine = new_engine(request.param)
    add_ExampleServicer_to_server(Example(), engine)
    return engine


async def test_an_added_servicer_answers_on_the_returned_port(engine: ServerEngine) -> None:
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        assert (await ExampleStub(channel).AddWord(AddWordRequest(word="words"))).commit_index == 5
        with pytest.raises(grpc.aio.AioRpcError, match="not now"):
            await ExampleStub(channel).GetWords(GetWordsRequest())


async def test_a_message_over_the_limit_is_refused(engine: ServerEngine) -> None:
    fits = "x" * (MAX_MESSAGE_BYTES - 5)
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        assert (await ExampleStub(channel).AddWord(AddWordRequest(word=fits))).commit_index == len(fits)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await ExampleStub(channel).AddWord(AddWordRequest(word=fits + "x"))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_port_is_free_again_after_stop(engine: ServerEngine) -> None:
    async with listening(engine) as address:
        pass
    async with listening(GrpcioEngine(), address) as again:
        assert again == address


async def test_stop_before_start_does_nothing(engine: ServerEngine) -> None:
    await engine.stop()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0", ""])
async def test_a_taken_port_is_refused_with_its_address(engine: ServerEngine, host: str) -> None:
    async with listening(GrpcioEngine()) as taken:
        address = taken.replace("localhost", host)
        with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
            await engine.start(address)


@pytest.fixture
def two_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes any host stand for both 127.0.0.1 and 127.0.0.2."""

    async def both(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        _, port = split_address(address)
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.2", port))]

    monkeypatch.setattr("pyraft_lite.rpc.listening.resolve", both)


@pytest.mark.usefixtures("two_addresses")
async def test_a_host_of_two_addresses_is_served_on_both(engine: ServerEngine) -> None:
    async with listening(engine) as address:
        port = address.rpartition(":")[2]
        for host in ("127.0.0.1", "127.0.0.2"):
            async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
                assert (await ExampleStub(channel).AddWord(AddWordRequest(word="words"))).commit_index == 5


@pytest.mark.usefixtures("two_addresses")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_a_port_taken_on_one_of_the_hosts_addresses_is_refused(engine: ServerEngine, host: str) -> None:
    with socket.create_server((host, 0)) as listener:
        address = f"twofold:{listener.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"cannot listen on {address}: Address already in use"):
            await engine.start(address)


async def test_a_host_that_names_an_address_twice_is_served(
    engine: ServerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def twice(address: str) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        return [(socket.AF_INET, ("127.0.0.1", split_address(address)[1]))] * 2

    monkeypatch.setattr("pyraft_lite.rpc.listening.resolve", twice)
    async with listening(engine):
        pass


async def test_a_port_that_grpcio_loses_to_another_while_starting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def places(address: str) -> tuple[list[str], int]:
            return ["127.0.0.1"], port

        monkeypatch.setattr("pyraft_lite.rpc.grpcio_engine._places", places)
        with pytest.raises(ListenError, match=f"cannot listen on localhost:{port}: Failed to bind"):
            await GrpcioEngine().start(f"localhost:{port}")


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]"])
async def test_a_wildcard_serves_every_interface(engine: ServerEngine, host: str) -> None:
    async with listening(engine, f"{host}:0") as address:
        port = address.rpartition(":")[2]
        for name in ("127.0.0.1", "127.0.0.2"):
            async with grpc.aio.insecure_channel(f"{name}:{port}") as channel:
                assert (await ExampleStub(channel).AddWord(AddWordRequest(word="words"))).commit_index == 5


async def test_a_port_is_not_shared_even_with_those_who_would_share_it(engine: ServerEngine) -> None:
    async with listening(engine, "127.0.0.1:0") as address:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="Address already in use"):
                other.bind(("127.0.0.1", int(address.rpartition(":")[2])))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("localhost", "want host:port"),
        ("localhost:http", "want host:port"),
        ("localhost:65536", "want host:port"),
        ("::1:50051", "want host:port"),
        ("", "want host:port"),
        ("nowhere.invalid:50051", "cannot listen on nowhere.invalid:50051: .*not known"),
        ("192.0.2.1:50051", "Cannot assign requested address"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_refused_with_the_reason(
    engine: ServerEngine, address: str, reason: str
) -> None:
    with pytest.raises(ListenError, match=reason):
        await engine.start(address)


async def test_a_start_that_failed_can_be_tried_again(engine: ServerEngine) -> None:
    with pytest.raises(ListenError):
        await engine.start("192.0.2.1:0")
    async with listening(engine) as address, grpc.aio.insecure_channel(address) as channel:
        assert (await ExampleStub(channel).AddWord(AddWordRequest(word="words"))).commit_index == 5
