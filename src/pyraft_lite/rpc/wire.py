"""The core's messages as they go over the wire, and back.

The peer is hashicorp/raft, protocol version 3, behind Jille/raft-grpc-transport. What it would never send is refused
with :class:`WireError`; what its older versions leave out is filled in: 1.1 and 1.2 name the sender only in the
deprecated ``leader`` and ``candidate``, so that its id stays unknown (R4).

``encode_…`` makes the message for a value, ``decode_…`` the value of a message; what a message may get wrong,
``decode_…`` raises as WireError.
"""

# ruff: noqa: D103 - what a pair of functions is for is in their names.

from functools import lru_cache

from pyraft_lite.core import messages as core
from pyraft_lite.core.entry import NANOSECONDS, ZERO_TIME, Entry, EntryType
from pyraft_lite.core.messages import Peer
from pyraft_lite.core.settings import MAX_APPEND_ENTRIES
from pyraft_lite.rpc.pb import raft_transport_pb2 as pb
from pyraft_lite.storage import configuration_codec

PROTOCOL_VERSION = 3
"""What we speak."""

OLDEST_PROTOCOL_VERSION = 2
"""What we still take: one version back, as hashicorp/raft does."""

SNAPSHOT_VERSION = 1

LARGEST = 2**63 - 1
"""The largest term and index that is taken: after those of a peer gone mad there must be others to count on to."""

END_OF_TIME = 253_402_300_800 * NANOSECONDS
"""The end of the year 9999, where protobuf's timestamps end."""

_ENTRY_TYPES = {int(entry_type): entry_type for entry_type in EntryType}


class WireError(ValueError):
    """A peer sent what the protocol has no meaning for; the message says what."""


@lru_cache(16)
def _header(sender: Peer) -> pb.RPCHeader:
    """What says who sends; messages that are made with it hold a copy."""
    return pb.RPCHeader(protocol_version=PROTOCOL_VERSION, id=sender.id.encode(), addr=sender.address.encode())


def _sender(header: pb.RPCHeader, legacy_address: bytes = b"") -> Peer:
    """Who sent the request of this header; raises WireError if we do not speak the sender's protocol version."""
    version = header.protocol_version
    if not OLDEST_PROTOCOL_VERSION <= version <= PROTOCOL_VERSION:
        raise WireError(
            f"unsupported protocol version {version}: this node speaks {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}"
        )
    try:
        return _peer(header.id, header.addr or legacy_address)
    except UnicodeDecodeError as error:
        raise WireError(f"the sender's id or address is not UTF-8: {error.object!r}") from error


@lru_cache(16)  # few, since anybody may send long ones
def _peer(server_id: bytes, address: bytes) -> Peer:
    return Peer(server_id.decode(), address.decode())


def _known_sender(header: pb.RPCHeader, legacy_address: bytes = b"") -> Peer:
    """As :func:`_sender`, for a request that means nothing without its sender's address."""
    sender = _sender(header, legacy_address)
    if not sender.address:
        raise WireError("the request does not say who sends it: rpc_header.addr is empty")
    return sender


def _check(term: int, *indexes: int, log_term: int = 0) -> None:
    """Raises WireError if there can be no such terms and indexes."""
    if term > LARGEST or log_term > LARGEST:
        raise WireError(f"impossible term: {max(term, log_term)}")
    for index in indexes:
        if index > LARGEST:
            raise WireError(f"impossible index: {index}")


def encode_entry(entry: Entry, log: pb.Log) -> None:
    """Fills an empty ``log``; a time of 0 is left out."""
    log.index = entry.index
    log.term = entry.term
    log.type = entry.type  # type: ignore[assignment]
    log.data = entry.data
    log.extensions = entry.extensions
    if entry.appended_at:
        appended_at = log.appended_at
        appended_at.seconds, appended_at.nanos = divmod(entry.appended_at, NANOSECONDS)


def decode_entry(log: pb.Log) -> Entry:
    """An entry; a time that was left out is 0."""
    entry_type = _ENTRY_TYPES.get(log.type)
    if entry_type is None:
        raise WireError(f"entry {log.index} has an unknown type: {log.type}")
    stamp = log.appended_at
    appended_at = stamp.seconds * NANOSECONDS + stamp.nanos
    if not ZERO_TIME <= appended_at < END_OF_TIME:
        raise WireError(f"entry {log.index} has an impossible time: {stamp.seconds} s and {stamp.nanos} ns since 1970")
    return Entry(log.index, log.term, entry_type, log.data, log.extensions, appended_at)


def encode_append_request(request: core.AppendEntriesRequest) -> pb.AppendEntriesRequest:
    message = pb.AppendEntriesRequest(
        rpc_header=_header(request.sender),
        term=request.term,
        leader=request.sender.address.encode(),
        prev_log_entry=request.prev_index,
        prev_log_term=request.prev_term,
        leader_commit_index=request.leader_commit,
    )
    for entry in request.entries:
        encode_entry(entry, message.entries.add())
    return message


class AppendRequestEncoder:
    """Makes the bytes of append requests; of one that goes to several peers only once."""

    def __init__(self) -> None:
        self._latest: tuple[core.AppendEntriesRequest, bytes] | None = None

    def __call__(self, request: core.AppendEntriesRequest) -> bytes:
        """The bytes of ``request``."""
        if self._latest is None or self._latest[0] != request:
            self._latest = request, encode_append_request(request).SerializeToString()
        return self._latest[1]


def decode_append_request(message: pb.AppendEntriesRequest) -> core.AppendEntriesRequest:
    """Terms and indexes of entries are compared with the request's by the core."""
    _check(message.term, message.prev_log_entry, message.leader_commit_index)
    if len(message.entries) > MAX_APPEND_ENTRIES:
        raise WireError(f"{len(message.entries)} entries, more than {MAX_APPEND_ENTRIES}, in one request")
    return core.AppendEntriesRequest(
        term=message.term,
        sender=_known_sender(message.rpc_header, message.leader),
        prev_index=message.prev_log_entry,
        prev_term=message.prev_log_term,
        entries=tuple([decode_entry(log) for log in message.entries]),
        leader_commit=message.leader_commit_index,
    )


def encode_append_response(response: core.AppendEntriesResponse, sender: Peer) -> pb.AppendEntriesResponse:
    return pb.AppendEntriesResponse(
        rpc_header=_header(sender),
        term=response.term,
        last_log=response.last_log,
        success=response.success,
        no_retry_backoff=response.no_retry_backoff,
    )


def decode_append_response(message: pb.AppendEntriesResponse) -> core.AppendEntriesResponse:
    _check(message.term, message.last_log)
    return core.AppendEntriesResponse(message.term, message.last_log, message.success, message.no_retry_backoff)


def encode_vote_request(request: core.RequestVoteRequest) -> pb.RequestVoteRequest:
    return pb.RequestVoteRequest(
        rpc_header=_header(request.sender),
        term=request.term,
        candidate=request.sender.address.encode(),
        last_log_index=request.last_index,
        last_log_term=request.last_term,
        leadership_transfer=request.leadership_transfer,
    )


def decode_vote_request(message: pb.RequestVoteRequest) -> core.RequestVoteRequest:
    _check(message.term, message.last_log_index, log_term=message.last_log_term)
    return core.RequestVoteRequest(
        term=message.term,
        sender=_known_sender(message.rpc_header, message.candidate),
        last_index=message.last_log_index,
        last_term=message.last_log_term,
        leadership_transfer=message.leadership_transfer,
    )


def encode_vote_response(response: core.RequestVoteResponse, sender: Peer) -> pb.RequestVoteResponse:
    return pb.RequestVoteResponse(rpc_header=_header(sender), term=response.term, granted=response.granted)


def decode_vote_response(message: pb.RequestVoteResponse) -> core.RequestVoteResponse:
    _check(message.term)
    return core.RequestVoteResponse(message.term, message.granted)


def encode_pre_vote_request(request: core.RequestPreVoteRequest) -> pb.RequestPreVoteRequest:
    return pb.RequestPreVoteRequest(
        rpc_header=_header(request.sender),
        term=request.term,
        last_log_index=request.last_index,
        last_log_term=request.last_term,
    )


def decode_pre_vote_request(message: pb.RequestPreVoteRequest) -> core.RequestPreVoteRequest:
    _check(message.term, message.last_log_index, log_term=message.last_log_term)
    return core.RequestPreVoteRequest(
        term=message.term,
        sender=_known_sender(message.rpc_header),
        last_index=message.last_log_index,
        last_term=message.last_log_term,
    )


def encode_pre_vote_response(response: core.RequestPreVoteResponse, sender: Peer) -> pb.RequestPreVoteResponse:
    return pb.RequestPreVoteResponse(rpc_header=_header(sender), term=response.term, granted=response.granted)


def decode_pre_vote_response(message: pb.RequestPreVoteResponse) -> core.RequestPreVoteResponse:
    _check(message.term)
    return core.RequestPreVoteResponse(message.term, message.granted)


def encode_timeout_now_request(request: core.TimeoutNowRequest) -> pb.TimeoutNowRequest:
    return pb.TimeoutNowRequest(rpc_header=_header(request.sender), term=request.term)


def decode_timeout_now_request(message: pb.TimeoutNowRequest) -> core.TimeoutNowRequest:
    """From hashicorp/raft 1.1-1.2 the sender is unknown altogether: this request has no deprecated field for it."""
    _check(message.term)
    return core.TimeoutNowRequest(_sender(message.rpc_header), message.term)


def encode_timeout_now_response(response: core.TimeoutNowResponse, sender: Peer) -> pb.TimeoutNowResponse:
    return pb.TimeoutNowResponse(rpc_header=_header(sender))


def decode_timeout_now_response(message: pb.TimeoutNowResponse) -> core.TimeoutNowResponse:
    return core.TimeoutNowResponse()


def encode_snapshot_request(request: core.InstallSnapshotRequest) -> pb.InstallSnapshotRequest:
    """The first message of the stream; those that follow hold nothing but ``data``."""
    return pb.InstallSnapshotRequest(
        rpc_header=_header(request.sender),
        term=request.term,
        leader=request.sender.address.encode(),
        last_log_index=request.last_index,
        last_log_term=request.last_term,
        peers=configuration_codec.encode_peers(request.configuration),
        configuration=configuration_codec.encode(request.configuration),
        configuration_index=request.configuration_index,
        size=request.size,
        snapshot_version=SNAPSHOT_VERSION,
    )


def encode_snapshot_data(data: memoryview) -> tuple[bytes, memoryview]:
    """A message that follows, as it travels, in two parts: for protobuf to make one, ``data`` would be copied twice."""
    return _before_snapshot_data(len(data)), data


@lru_cache(2)  # all are of one size, but the last
def _before_snapshot_data(size: int) -> bytes:
    """How a message begins that ends with so many bytes of data."""
    return pb.InstallSnapshotRequest(data=bytes(size)).SerializeToString()[:-size]


def decode_snapshot_request(message: pb.InstallSnapshotRequest) -> core.InstallSnapshotRequest:
    """Of the first message of the stream, all but ``data``."""
    _check(message.term, message.last_log_index, message.configuration_index, log_term=message.last_log_term)
    if message.snapshot_version != SNAPSHOT_VERSION:
        raise WireError(f"unsupported snapshot version {message.snapshot_version}: this node takes {SNAPSHOT_VERSION}")
    if message.size < 0:
        raise WireError(f"impossible snapshot size: {message.size} bytes")
    try:
        configuration = configuration_codec.decode(message.configuration)
    except ValueError as error:
        raise WireError(f"the snapshot's configuration is unreadable: {error}") from error
    return core.InstallSnapshotRequest(
        term=message.term,
        sender=_known_sender(message.rpc_header, message.leader),
        last_index=message.last_log_index,
        last_term=message.last_log_term,
        configuration=configuration,
        configuration_index=message.configuration_index,
        size=message.size,
    )


def encode_snapshot_response(response: core.InstallSnapshotResponse, sender: Peer) -> pb.InstallSnapshotResponse:
    return pb.InstallSnapshotResponse(rpc_header=_header(sender), term=response.term, success=response.success)


def decode_snapshot_response(message: pb.InstallSnapshotResponse) -> core.InstallSnapshotResponse:
    _check(message.term)
    return core.InstallSnapshotResponse(message.term, message.success)
