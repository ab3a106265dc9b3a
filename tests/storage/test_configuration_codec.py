"""Configurations in msgpack: exactly Go's bytes out, whatever is sensible in."""

import contextlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.core.configuration import Configuration, ConfigurationCodec, Server, Suffrage
from pyraft_lite.storage import configuration_codec
from pyraft_lite.storage.configuration_codec import decode, decode_peers, encode, encode_peers

ONE_VOTER = Configuration((Server("nodeA", "localhost:50051"),))
ONE_VOTER_BYTES = bytes.fromhex(
    "81a7536572766572739183a741646472657373af6c6f63616c686f73743a3530303531a24944a56e6f646541a8537566667261676500"
)
THREE_VOTERS = Configuration(tuple(Server(f"node{c}", f"localhost:5005{i}") for i, c in enumerate("ABC", 1)))

texts = st.text(max_size=300)  # past 31 and 255 bytes, where msgpack changes its string header
servers = st.builds(Server, texts, texts, st.sampled_from(Suffrage))
configurations = st.builds(Configuration, st.lists(servers, max_size=20).map(tuple))

# All that msgpack can say, and maps that are nearly configurations.
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=5)),
    st.builds(msgpack.Timestamp, st.integers(0, 2**63 - 1), st.integers(0, 10**9 - 1)),
)
names = st.sampled_from(["Servers", "Address", "ID", "Suffrage"])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | leaves, inner))
documents = values | st.builds(
    lambda found: {"Servers": found},
    st.lists(st.fixed_dictionaries({}, optional={"Address": leaves, "ID": leaves, "Suffrage": leaves}), max_size=3),
)


def packed(document: object) -> bytes:
    return bytes(msgpack.packb(document, strict_types=True))


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with one byte replaced by any other."""
    return st.builds(
        lambda at, byte: data[:at] + bytes([byte]) + data[at + 1 :],
        st.integers(0, len(data) - 1),
        st.integers(0, 255),
    )


# The module is the codec.
CODEC: ConfigurationCodec = configuration_codec


def server_map(**changed: object) -> bytes:
    """An encoded configuration of one server, with some of its fields changed."""
    fields = {"Address": "a:1", "ID": "a", "Suffrage": 0, **changed}
    return bytes(msgpack.packb({"Servers": [fields]}))


def test_a_configuration_is_encoded_byte_for_byte_as_go_does() -> None:
    assert CODEC.encode(ONE_VOTER) == ONE_VOTER_BYTES
    assert CODEC.decode(ONE_VOTER_BYTES) == ONE_VOTER


def test_the_configuration_in_a_recorded_go_log_is_read_and_written_the_same() -> None:
    recorded = (Path(__file__).parent.parent / "data" / "disk-format.txt").read_text()
    entry_4 = bytes.fromhex(recorded.split("key=4 value=")[1].split()[0])
    data = msgpack.unpackb(entry_4, raw=True)[b"Data"]
    assert decode(data) == THREE_VOTERS
    assert encode(THREE_VOTERS) == data


@given(configurations)
def test_what_was_encoded_is_decoded(configuration: Configuration) -> None:
    assert decode(encode(configuration)) == configuration


def test_newer_string_types_are_read() -> None:
    str8 = b"\xd9\x03a:1"
    bin8 = b"\xc4\x03a:1"
    for address in (str8, bin8):
        data = b"\x81\xa7Servers\x91\x83\xa7Address" + address + b"\xa2ID\xa1a\xa8Suffrage\x01"
        assert decode(data) == Configuration((Server("a", "a:1", Suffrage.NONVOTER),))


def test_unknown_keys_are_skipped() -> None:
    assert decode(server_map(Zone={"a": [1, None]})) == Configuration((Server("a", "a:1"),))
    assert decode(server_map(**{"\udcff".encode("utf-8", "surrogatepass").decode("latin-1"): 1}))


def test_nil_is_what_is_empty() -> None:
    assert decode(msgpack.packb({"Servers": None})) == Configuration()
    assert decode(server_map(ID=None, Suffrage=None)) == Configuration((Server("", "a:1"),))


def test_staging_is_read() -> None:
    assert decode(server_map(Suffrage=2)).servers[0].suffrage is Suffrage.STAGING


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not msgpack"),
        (b"\xff", "not a map with the key Servers"),
        (b"\xc0", "not a map with the key Servers"),
        (b"\x80", "not a map with the key Servers"),
        (ONE_VOTER_BYTES[:-1], "not msgpack"),
        (ONE_VOTER_BYTES + b"\0", "not msgpack"),
        (b"\x91" * 3000, "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\x81\x90\xc0", "not msgpack"),
        (msgpack.packb({"Servers": 0}), "Servers is 0, should be a list"),
        (msgpack.packb({"Servers": ["a"]}), "a server is b'a', should be a map"),
        (server_map(ID=1), "ID is 1, should be a string"),
        (server_map(Address=b"\xff"), r"Address is b'\\xff', should be UTF-8"),
        (server_map(Suffrage=3), "Suffrage is 3, should be 0, 1 or 2"),
        (server_map(Suffrage=[]), "Suffrage is \\[\\], should be 0, 1 or 2"),
    ],
)
def test_what_is_no_configuration_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode(data)


@given(st.binary(max_size=200) | damaged(ONE_VOTER_BYTES) | st.builds(packed, documents))
def test_anything_is_decoded_or_refused_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        configuration = decode(data)
        assert decode(encode(configuration)) == configuration
    with contextlib.suppress(ValueError):
        assert all(isinstance(address, str) for address in decode_peers(data))


def test_peers_are_the_voters_addresses_as_go_writes_them() -> None:
    configuration = Configuration((*THREE_VOTERS, Server("nodeD", "localhost:50054", Suffrage.NONVOTER)))
    data = encode_peers(configuration)
    assert data == b"\x93\xaflocalhost:50051\xaflocalhost:50052\xaflocalhost:50053"
    assert decode_peers(data) == ("localhost:50051", "localhost:50052", "localhost:50053")


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x91\x01", b"\x91\xa1\xff"])
def test_what_is_no_list_of_peers_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not|should be"):
        decode_peers(data)
