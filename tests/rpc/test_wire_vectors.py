"""What a Go leader sent must mean the same to us, and be what we would send."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message

from pyraft_lite.rpc import wire
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb

VECTORS = Path(__file__).parent.parent / "data" / "wire-vectors.txt"

CODECS: dict[str, tuple[type[Message], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "AppendEntries": (pb.AppendEntriesRequest, wire.decode_append_request, wire.encode_append_request),
    "RequestVote": (pb.RequestVoteRequest, wire.decode_vote_request, wire.encode_vote_request),
    "RequestPreVote": (pb.RequestPreVoteRequest, wire.decode_pre_vote_request, wire.encode_pre_vote_request),
    "TimeoutNow": (pb.TimeoutNowRequest, wire.decode_timeout_now_request, wire.encode_timeout_now_request),
    "InstallSnapshot-msg": (pb.InstallSnapshotRequest, wire.decode_snapshot_request, wire.encode_snapshot_request),
}


def recorded() -> list[Any]:
    found = re.findall(r"^## (\S+) #\d+ len=(\d+)\n.*\nhex=([0-9a-f]+)$", VECTORS.read_text(), re.MULTILINE)
    return [
        pytest.param(name, int(length), bytes.fromhex(digits[: len(digits) // 2 * 2]), id=f"{at}-{name}")
        for at, (name, length, digits) in enumerate(found)
    ]


def whole_fields(kind: type[Message], data: bytes) -> bytes:
    """The longest prefix of ``data`` that ends with a field."""
    for end in range(len(data), 0, -1):
        try:
            kind.FromString(data[:end])
        except DecodeError:
            continue
        return data[:end]
    raise AssertionError("no field is whole")


@pytest.mark.parametrize(("name", "length", "data"), recorded())
def test_what_a_go_leader_sent_is_what_we_would_send(name: str, length: int, data: bytes) -> None:
    kind, decode, encode = CODECS[re.sub(r"^(AppendEntries).*", r"\1", name)]
    if len(data) < length:  # The recording cuts long messages off.
        data = whole_fields(kind, data)
    message = kind.FromString(data)
    if message.ByteSize() and not message.HasField("rpc_header"):
        assert message == pb.InstallSnapshotRequest(data=message.data)
        return
    assert encode(decode(message)).SerializeToString() == data


def test_the_recording_holds_every_kind_of_request() -> None:
    names = {param.values[0] for param in recorded()}
    assert {re.sub(r"^(AppendEntries).*", r"\1", name) for name in names} == set(CODECS)
