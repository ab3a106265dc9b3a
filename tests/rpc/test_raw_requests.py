"""What our own engine and h2corn's make of requests that no gRPC library would send, or that tests cannot see through
one."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import grpc
import pytest
from echo_service import EchoService, echoing
from h2_client import H2Client, h2_client
from hypothesis import given, settings
from hypothesis import strategies as st

from pyraft_lite.rpc.engine import available_engines, new_engine
from pyraft_lite.rpc.grpc_framing import frame
from pyraft_lite.rpc.limits import MAX_MESSAGE_BYTES

ECHO, CHAT, CHAT_COMPRESSED = b"/test.Echo/Echo", b"/test.Echo/Chat", b"/test.Echo/ChatCompressed"


def code(status: grpc.StatusCode) -> bytes:
    """As it is in trailers."""
    return b"%d" % status.value[0]


OK = code(grpc.StatusCode.OK)
GZIPPED = gzip.compress(b"abc", mtime=0)
INTERNAL = code(grpc.StatusCode.INTERNAL)
UNIMPLEMENTED = code(grpc.StatusCode.UNIMPLEMENTED)
EXHAUSTED = code(grpc.StatusCode.RESOURCE_EXHAUSTED)


ENGINES = [name for name in available_engines() if name != "grpcio"]


@pytest.fixture(params=ENGINES)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[EchoService, H2Client]]:
    async with echoing(new_engine(request.param)) as (service, address), h2_client(address) as client:
        yield service, client


@pytest.fixture
def service(served: tuple[EchoService, H2Client]) -> EchoService:
    return served[0]


@pytest.fixture
def client(served: tuple[EchoService, H2Client]) -> H2Client:
    return served[1]


# -- the form of answers ----------------------------------------------------------------------------------------------


async def test_an_answer_is_headers_messages_and_trailers(client: H2Client) -> None:
    answer = await client.request(ECHO, [frame(b"request")])
    assert answer.headers[b":status"] == b"200"
    assert answer.headers[b"content-type"] == b"application/grpc"
    assert answer.headers[b"grpc-accept-encoding"] == b"identity,gzip,deflate"
    assert answer.body == frame(b"request")
    assert answer.trailers == {b"grpc-status": OK}


async def test_an_error_before_any_message_is_trailers_only(client: H2Client) -> None:
    answer = await client.request(b"/test.Echo/Abort", [frame("NOT_FOUND Füße 100%".encode())])
    assert answer.headers[b":status"] == b"200"
    assert answer.headers[b"content-type"] == b"application/grpc"
    assert answer.headers[b"grpc-status"] == code(grpc.StatusCode.NOT_FOUND)
    assert answer.headers[b"grpc-message"] == b"F%C3%BC%C3%9Fe 100%25"
    assert (answer.body, answer.trailers) == (b"", None)


async def test_a_response_is_dropped_if_the_servicer_says_that_the_call_failed(client: H2Client) -> None:
    answer = await client.request(b"/test.Echo/Status", [frame(b"NOT_FOUND gone")])
    assert (answer.status, answer.body) == (code(grpc.StatusCode.NOT_FOUND), b"")


async def test_binary_metadata_goes_out_without_padding(client: H2Client) -> None:
    headers = {b"x-grpc-test-echo-trailing-bin": b"qw=="}
    answer = await client.request(ECHO, [frame(b"")], headers)
    assert answer.trailers == {b"grpc-status": OK, b"x-grpc-test-echo-trailing-bin": b"qw"}


# -- requests that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"content-type": b"application/json"}, b"415"),
        ({b"content-type": b"application/grpcish"}, b"415"),
        ({b"content-type": None}, b"415"),
        ({b":method": b"GET"}, b"405"),
        ({b":method": b"PUT"}, b"405"),
        ({b"te": None}, b"400"),
    ],
)
async def test_what_is_not_grpc_is_refused(client: H2Client, headers: dict[bytes, bytes | None], status: bytes) -> None:
    assert (await client.request(ECHO, [frame(b"")], headers)).headers[b":status"] == status


@pytest.mark.parametrize("content_type", [b"application/grpc+proto", b"application/grpc+x", b"application/grpc;a=b"])
async def test_content_types_of_grpc_are_taken(client: H2Client, content_type: bytes) -> None:
    assert (await client.request(ECHO, [frame(b"")], {b"content-type": content_type})).status == OK


async def test_an_unknown_encoding_is_unimplemented_and_the_known_ones_are_named(client: H2Client) -> None:
    answer = await client.request(ECHO, [frame(b"")], {b"grpc-encoding": b"snappy"})
    assert answer.status == UNIMPLEMENTED
    assert b"snappy" in answer.message
    assert answer.headers[b"grpc-accept-encoding"] == b"identity,gzip,deflate"


@pytest.mark.parametrize("timeout", [b"", b"1", b"S", b"123456789S", b"1x", b"-1S", b"1.5S"])
async def test_a_timeout_that_is_none_is_an_error(client: H2Client, timeout: bytes) -> None:
    answer = await client.request(ECHO, [frame(b"")], {b"grpc-timeout": timeout})
    assert answer.status == INTERNAL
    assert answer.message.startswith(b"invalid grpc-timeout")


@pytest.mark.parametrize("timeout", [b"0n", b"1n", b"20m"])
async def test_a_deadline_ends_the_call_even_if_the_client_does_not(
    client: H2Client, service: EchoService, timeout: bytes
) -> None:
    answer = await client.request(b"/test.Echo/Sleep", [frame(b"")], {b"grpc-timeout": timeout})
    assert answer.status == code(grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("path", [ECHO, b"/test.Echo/Nothing"])
async def test_metadata_that_is_not_base64_is_an_error(client: H2Client, path: bytes) -> None:
    answer = await client.request(path, [frame(b"")], {b"broken-bin": b"!"})
    assert answer.status == INTERNAL
    assert answer.message.startswith(b"invalid metadata broken-bin")


async def test_a_query_is_no_part_of_a_method(client: H2Client) -> None:
    assert (await client.request(ECHO + b"?a=b", [frame(b"")])).status == UNIMPLEMENTED


# -- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ECHO, CHAT])
@pytest.mark.parametrize("size", [0, 1, 4, 5, 6, 300])
async def test_messages_may_be_cut_anywhere(client: H2Client, path: bytes, size: int) -> None:
    whole = frame(bytes(size))
    for cut in range(min(len(whole), 8)):
        assert (await client.request(path, [whole[:cut], whole[cut:]])).body == whole


async def test_messages_may_come_together(client: H2Client) -> None:
    several = frame(b"one") + frame(b"") + frame(b"three")
    assert (await client.request(CHAT, [several])).body == several


async def test_the_largest_message_is_taken_and_one_larger_is_refused(client: H2Client) -> None:
    assert (await client.request(CHAT, [frame(bytes(MAX_MESSAGE_BYTES))])).status == OK
    answer = await client.request(CHAT, [frame(bytes(MAX_MESSAGE_BYTES + 1))[:100]], end=False)
    assert answer.status == EXHAUSTED
    assert answer.message == b"received message larger than max (4194305 vs. 4194304)"


@pytest.mark.parametrize("path", [ECHO, CHAT])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\2\0\0\0\0", INTERNAL),  # No such flag.
        (b"\0\0\0\0\5four", INTERNAL),  # Cut off.
        (b"\0\0\0", INTERNAL),
        (b"\1\0\0\0\4four", INTERNAL),  # Compressed, but how?
        (b"\0\xff\xff\xff\xff", EXHAUSTED),
    ],
)
async def test_a_body_that_makes_no_sense_is_an_error(
    client: H2Client, path: bytes, body: bytes, status: bytes
) -> None:
    assert (await client.request(path, [body])).status == status


async def test_a_unary_call_without_a_message_is_an_error(client: H2Client) -> None:
    assert (await client.request(ECHO)).status == UNIMPLEMENTED
    assert (await client.request(ECHO, [b""])).status == UNIMPLEMENTED


async def test_a_unary_call_is_answered_before_the_client_has_ended_it(client: H2Client) -> None:
    assert (await client.request(ECHO, [frame(b"early")], end=False)).body == frame(b"early")


# -- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)])
async def test_compressed_requests_are_understood(client: H2Client, encoding: bytes, compress) -> None:  # type: ignore[no-untyped-def]
    body = frame(compress(b"compressed"), compressed=True) + frame(b"plain")
    answer = await client.request(CHAT, [body], {b"grpc-encoding": encoding})
    assert answer.body == frame(b"compressed") + frame(b"plain")


@pytest.mark.parametrize("broken", [b"", b"x", GZIPPED[:-1], GZIPPED + b"x"])
async def test_what_cannot_be_decompressed_is_an_error(client: H2Client, broken: bytes) -> None:
    answer = await client.request(CHAT, [frame(broken, compressed=True)], {b"grpc-encoding": b"gzip"})
    assert answer.status == INTERNAL


async def test_what_becomes_too_large_is_refused_unseen(client: H2Client) -> None:
    bomb = gzip.compress(bytes(1 << 26))
    answer = await client.request(CHAT, [frame(bomb, compressed=True)], {b"grpc-encoding": b"gzip"})
    assert answer.status == EXHAUSTED


async def test_responses_are_compressed_if_the_client_takes_that(client: H2Client) -> None:
    request = [frame(b"large" * 1000) + frame(b"plain" * 1000)]
    answer = await client.request(CHAT_COMPRESSED, request, {b"grpc-accept-encoding": b"identity, gzip"})
    assert answer.headers[b"grpc-encoding"] == b"gzip"
    flag, length = answer.body[0], int.from_bytes(answer.body[1:5], "big")
    assert (flag, gzip.decompress(answer.body[5 : 5 + length])) == (1, b"large" * 1000)
    assert answer.body[5 + length :] == frame(b"plain" * 1000)


async def test_responses_are_not_compressed_for_a_client_that_does_not_say_it_takes_that(client: H2Client) -> None:
    answer = await client.request(CHAT_COMPRESSED, [frame(b"large" * 1000)])
    assert b"grpc-encoding" not in answer.headers
    assert answer.body == frame(b"large" * 1000)


# -- whatever comes ---------------------------------------------------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

TOKENS = st.text("abcxyz-019_.", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40).map(str.encode)
HEADERS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            b"content-type": st.sampled_from([b"application/grpc", b"application/grpc+proto", b"text/plain"]),
            b"grpc-timeout": st.sampled_from([b"1S", b"99999999H", b"5m"]) | VALUES,
            b"grpc-encoding": st.sampled_from([b"gzip", b"deflate", b"identity"]) | VALUES,
            b"grpc-accept-encoding": VALUES,
            b"some-bin": VALUES,
            b"te": st.sampled_from([b"trailers", b"gzip"]),
        },
    ),
    st.dictionaries(TOKENS, VALUES, max_size=4),
)
CHUNKS = st.lists(
    st.binary(max_size=40) | st.binary(max_size=300).map(frame) | st.binary(max_size=99).map(gzip.compress), max_size=5
)
PATHS = st.sampled_from([b"/test.Echo/" + name for name in (b"Echo", b"Chat", b"Collect", b"Send", b"Status", b"No")])


@pytest.mark.parametrize("engine", ENGINES)
def test_whatever_is_asked_is_answered(engine: str) -> None:
    """Every request ends with a status, of gRPC or HTTP, or with a reset stream; and the server goes on."""

    async def ask(address: str, requests: list[tuple[bytes, list[bytes], dict[bytes, bytes | None]]]) -> None:
        async with h2_client(address) as client:
            for path, chunks, headers in requests:
                answer = await client.request(path, chunks, headers)
                assert answer.status is not None or answer.reset is not None or answer.headers[b":status"] != b"200"
            assert (await client.request(ECHO, [frame(b"still here")])).body == frame(b"still here")

    with asyncio.Runner() as runner:
        serving = echoing(new_engine(engine))
        _, address = runner.run(serving.__aenter__())

        @settings(max_examples=500, deadline=None)
        @given(st.lists(st.tuples(PATHS, CHUNKS, HEADERS), min_size=1, max_size=4))
        def check(requests: list[tuple[bytes, list[bytes], dict[bytes, bytes | None]]]) -> None:
            runner.run(ask(address, requests))

        check()
        runner.run(serving.__aexit__(None, None, None))


@pytest.mark.parametrize("engine", ENGINES)
def test_bytes_that_are_no_http_harm_nobody_else(engine: str) -> None:
    async def send(address: str, garbage: bytes) -> None:
        host, _, port = address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(garbage)
        writer.close()
        async with h2_client(address) as client:
            assert (await client.request(ECHO, [frame(b"unharmed")])).body == frame(b"unharmed")

    with asyncio.Runner() as runner:
        serving = echoing(new_engine(engine))
        _, address = runner.run(serving.__aenter__())

        @settings(max_examples=200, deadline=None)
        @given(st.sampled_from([b"", PREFACE, PREFACE + SETTINGS]), st.binary(max_size=200))
        def check(start: bytes, garbage: bytes) -> None:
            runner.run(send(address, start + garbage))

        check()
        runner.run(serving.__aexit__(None, None, None))
