"""The core's messages on the wire."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.core import messages as core
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.entry import ZERO_TIME, Entry, EntryType
from pyraft_lite.core.messages import Peer
from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.rpc.wire import WireError

numbers = st.integers(0, wire.LARGEST)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
addresses = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
peers = st.builds(Peer, id=names, address=addresses)
entries = st.builds(
    Entry,
    index=numbers,
    term=numbers,
    type=st.sampled_from(EntryType),
    data=st.binary(max_size=50),
    extensions=st.binary(max_size=50),
    appended_at=st.integers(ZERO_TIME, wire.END_OF_TIME - 1),
)
configurations = st.builds(
    Configuration,
    st.lists(st.builds(Server, id=names, address=names, suffrage=st.sampled_from(Suffrage)), max_size=5).map(tuple),
)

requests = [
    (
        st.builds(
            core.AppendEntriesRequest,
            term=numbers,
            sender=peers,
            prev_index=numbers,
            prev_term=numbers,
            entries=st.lists(entries, max_size=5).map(tuple),
            leader_commit=numbers,
        ),
        wire.encode_append_request,
        wire.decode_append_request,
        pb.AppendEntriesRequest,
    ),
    (
        st.builds(core.RequestVoteRequest, numbers, peers, numbers, numbers, st.booleans()),
        wire.encode_vote_request,
        wire.decode_vote_request,
        pb.RequestVoteRequest,
    ),
    (
        st.builds(core.RequestPreVoteRequest, numbers, peers, numbers, numbers),
        wire.encode_pre_vote_request,
        wire.decode_pre_vote_request,
        pb.RequestPreVoteRequest,
    ),
    (
        st.builds(core.TimeoutNowRequest, peers, numbers),
        wire.encode_timeout_now_request,
        wire.decode_timeout_now_request,
        pb.TimeoutNowRequest,
    ),
    (
        st.builds(
            core.InstallSnapshotRequest,
            term=numbers,
            sender=peers,
            last_index=numbers,
            last_term=numbers,
            configuration=configurations,
            configuration_index=numbers,
            size=st.integers(0, 2**63 - 1),
        ),
        wire.encode_snapshot_request,
        wire.decode_snapshot_request,
        pb.InstallSnapshotRequest,
    ),
]
responses = [
    (
        st.builds(core.AppendEntriesResponse, numbers, numbers, st.booleans(), st.booleans()),
        wire.encode_append_response,
        wire.decode_append_response,
        pb.AppendEntriesResponse,
    ),
    (
        st.builds(core.RequestVoteResponse, numbers, st.booleans()),
        wire.encode_vote_response,
        wire.decode_vote_response,
        pb.RequestVoteResponse,
    ),
    (
        st.builds(core.RequestPreVoteResponse, numbers, st.booleans()),
        wire.encode_pre_vote_response,
        wire.decode_pre_vote_response,
        pb.RequestPreVoteResponse,
    ),
    (
        st.builds(core.TimeoutNowResponse),
        wire.encode_timeout_now_response,
        wire.decode_timeout_now_response,
        pb.TimeoutNowResponse,
    ),
    (
        st.builds(core.InstallSnapshotResponse, numbers, st.booleans()),
        wire.encode_snapshot_response,
        wire.decode_snapshot_response,
        pb.InstallSnapshotResponse,
    ),
]

BOB = Peer("bob", "localhost:2")
HEADER = pb.RPCHeader(protocol_version=3, id=b"bob", addr=b"localhost:2")


@pytest.mark.parametrize(("values", "encode", "decode", "kind"), requests, ids=lambda _: "")
@given(data=st.data())
def test_every_request_comes_out_of_the_wire_as_it_went_in(
    data: st.DataObject, values: Any, encode: Callable[..., Any], decode: Callable[..., Any], kind: Any
) -> None:
    request = data.draw(values)
    assert decode(kind.FromString(encode(request).SerializeToString())) == request


@pytest.mark.parametrize(("values", "encode", "decode", "kind"), responses, ids=lambda _: "")
@given(data=st.data())
def test_every_response_comes_out_of_the_wire_as_it_went_in(
    data: st.DataObject, values: Any, encode: Callable[..., Any], decode: Callable[..., Any], kind: Any
) -> None:
    response = data.draw(values)
    assert decode(kind.FromString(encode(response, BOB).SerializeToString())) == response


def test_every_request_and_response_names_its_sender_in_the_header() -> None:
    empty = Configuration()
    messages = [
        wire.encode_append_request(core.AppendEntriesRequest(1, BOB)),
        wire.encode_vote_request(core.RequestVoteRequest(1, BOB, 1, 1)),
        wire.encode_pre_vote_request(core.RequestPreVoteRequest(1, BOB, 1, 1)),
        wire.encode_timeout_now_request(core.TimeoutNowRequest(BOB)),
        wire.encode_snapshot_request(core.InstallSnapshotRequest(1, BOB, 1, 1, empty, 1, 1)),
        wire.encode_append_response(core.AppendEntriesResponse(1, 1, True), BOB),
        wire.encode_vote_response(core.RequestVoteResponse(1, True), BOB),
        wire.encode_pre_vote_response(core.RequestPreVoteResponse(1, True), BOB),
        wire.encode_timeout_now_response(core.TimeoutNowResponse(), BOB),
        wire.encode_snapshot_response(core.InstallSnapshotResponse(1, True), BOB),
    ]
    assert [message.rpc_header for message in messages] == [HEADER] * len(messages)


def test_the_deprecated_sender_fields_are_written_for_old_peers() -> None:
    empty = Configuration()
    assert wire.encode_append_request(core.AppendEntriesRequest(1, BOB)).leader == b"localhost:2"
    assert wire.encode_vote_request(core.RequestVoteRequest(1, BOB, 1, 1)).candidate == b"localhost:2"
    snapshot = core.InstallSnapshotRequest(1, BOB, 1, 1, empty, 1, 1)
    assert wire.encode_snapshot_request(snapshot).leader == b"localhost:2"


OLD = pb.RPCHeader(protocol_version=3)


def test_an_old_peer_is_known_by_the_deprecated_sender_fields() -> None:
    sender = Peer("", "localhost:2")
    append = pb.AppendEntriesRequest(rpc_header=OLD, leader=b"localhost:2")
    vote = pb.RequestVoteRequest(rpc_header=OLD, candidate=b"localhost:2")
    snapshot = wire.encode_snapshot_request(core.InstallSnapshotRequest(1, BOB, 1, 1, Configuration(), 1, 1))
    snapshot.rpc_header.CopyFrom(OLD)
    assert wire.decode_append_request(append).sender == sender
    assert wire.decode_vote_request(vote).sender == sender
    assert wire.decode_snapshot_request(snapshot).sender == sender


def test_the_header_wins_over_the_deprecated_sender_fields() -> None:
    vote = pb.RequestVoteRequest(rpc_header=HEADER, candidate=b"localhost:9")
    assert wire.decode_vote_request(vote).sender == BOB


def test_timeout_now_of_an_old_peer_has_no_sender() -> None:
    assert wire.decode_timeout_now_request(pb.TimeoutNowRequest(rpc_header=OLD)).sender == Peer("", "")


def test_a_request_that_names_no_sender_is_refused() -> None:
    with pytest.raises(WireError, match=r"rpc_header\.addr is empty"):
        wire.decode_append_request(pb.AppendEntriesRequest(rpc_header=OLD, term=1))
    with pytest.raises(WireError, match=r"rpc_header\.addr is empty"):
        wire.decode_pre_vote_request(pb.RequestPreVoteRequest(rpc_header=OLD, term=1))


def test_a_sender_that_is_no_text_is_refused() -> None:
    header = pb.RPCHeader(protocol_version=3, id=b"\xff", addr=b"localhost:2")
    with pytest.raises(WireError, match=r"not UTF-8: b'\\xff'"):
        wire.decode_vote_request(pb.RequestVoteRequest(rpc_header=header))


@pytest.mark.parametrize("version", [2, 3])
def test_the_current_and_the_previous_protocol_version_are_spoken(version: int) -> None:
    header = pb.RPCHeader(protocol_version=version, id=b"bob", addr=b"localhost:2")
    assert wire.decode_vote_request(pb.RequestVoteRequest(rpc_header=header)).sender == BOB


@pytest.mark.parametrize("version", [-1, 0, 1, 4])
def test_other_protocol_versions_are_refused(version: int) -> None:
    header = pb.RPCHeader(protocol_version=version, id=b"bob", addr=b"localhost:2")
    with pytest.raises(WireError, match=f"unsupported protocol version {version}: this node speaks 2 to 3"):
        wire.decode_vote_request(pb.RequestVoteRequest(rpc_header=header))


def test_an_entry_of_an_unknown_type_is_refused() -> None:
    log = pb.Log.FromString(b"\x08\x07\x18\x06")  # index 7, type 6
    with pytest.raises(WireError, match="entry 7 has an unknown type: 6"):
        wire.decode_append_request(pb.AppendEntriesRequest(rpc_header=HEADER, entries=[log]))


@pytest.mark.parametrize(("seconds", "nanos"), [(-62135596801, 999_999_999), (253402300800, 0), (2**63 - 1, 0)])
def test_a_time_outside_of_what_timestamps_can_be_is_refused(seconds: int, nanos: int) -> None:
    log = pb.Log(index=7)
    log.appended_at.seconds = seconds
    log.appended_at.nanos = nanos
    with pytest.raises(WireError, match="entry 7 has an impossible time"):
        wire.decode_entry(log)


def test_an_entry_without_a_time_stays_without() -> None:
    log = pb.Log(index=7, term=1)
    entry = wire.decode_entry(log)
    assert entry.appended_at == 0
    encoded = pb.Log()
    wire.encode_entry(entry, encoded)
    assert encoded == log


def test_a_snapshot_lists_the_voters_for_old_peers() -> None:
    configuration = Configuration(
        (Server("a", "localhost:1"), Server("b", "localhost:2", Suffrage.NONVOTER), Server("c", "localhost:3"))
    )
    message = wire.encode_snapshot_request(core.InstallSnapshotRequest(1, BOB, 1, 1, configuration, 1, 1))
    assert message.peers == b"\x92\xablocalhost:1\xablocalhost:3"


SNAPSHOT = core.InstallSnapshotRequest(1, BOB, 1, 1, Configuration((Server("a", "localhost:1"),)), 1, 1)


@pytest.mark.parametrize("size", [1, 127, 128, 262_144])
def test_the_data_of_a_snapshot_are_a_message_in_parts(size: int) -> None:
    data = b"x" * size
    assert (
        b"".join(wire.encode_snapshot_data(memoryview(data)))
        == pb.InstallSnapshotRequest(data=data).SerializeToString()
    )


def test_an_unknown_snapshot_version_is_refused() -> None:
    message = wire.encode_snapshot_request(SNAPSHOT)
    message.snapshot_version = 2
    with pytest.raises(WireError, match="unsupported snapshot version 2: this node takes 1"):
        wire.decode_snapshot_request(message)


def test_a_negative_snapshot_size_is_refused() -> None:
    message = wire.encode_snapshot_request(SNAPSHOT)
    message.size = -1
    with pytest.raises(WireError, match="impossible snapshot size: -1 bytes"):
        wire.decode_snapshot_request(message)


def test_a_snapshot_with_an_unreadable_configuration_is_refused() -> None:
    message = wire.encode_snapshot_request(SNAPSHOT)
    message.configuration = b"\xc1"
    with pytest.raises(WireError, match="configuration is unreadable"):
        wire.decode_snapshot_request(message)


def test_heartbeats_stay_heartbeats() -> None:
    heartbeat = core.AppendEntriesRequest(term=2, sender=BOB)
    assert wire.decode_append_request(wire.encode_append_request(heartbeat)).is_heartbeat
    probe = heartbeat._replace(prev_index=8, prev_term=2)
    assert not wire.decode_append_request(wire.encode_append_request(probe)).is_heartbeat


def test_a_request_is_encoded_once_for_all_peers_and_anew_for_the_next() -> None:
    encode = wire.AppendRequestEncoder()
    entry = Entry(2, 1, EntryType.COMMAND, b"x")

    def request(commit: int) -> core.AppendEntriesRequest:
        return core.AppendEntriesRequest(1, Peer("a", "a:1"), 1, 1, (entry,), commit)

    first = encode(request(1))
    assert encode(request(1)) is first
    assert wire.decode_append_request(pb.AppendEntriesRequest.FromString(first)) == request(1)
    assert wire.decode_append_request(pb.AppendEntriesRequest.FromString(encode(request(2)))) == request(2)
