"""What a failed gRPC call to a peer means to Raft."""

import grpc

from pyraft_lite.runtime.transport import FailureKind, TransportError

_KINDS = {
    grpc.StatusCode.UNAVAILABLE: FailureKind.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: FailureKind.TIMEOUT,
    grpc.StatusCode.UNIMPLEMENTED: FailureKind.UNSUPPORTED,
}

_STREAM_ENDED = "Internal error from Core"
"""What grpcio puts in place of the peer's status if we write to a stream the peer has just ended (grpc/grpc#36066)."""


def failure_of(rpc: str, code: grpc.StatusCode, details: str | None) -> TransportError:
    """The TransportError for a call that ended with a status; ``rpc`` says in its message what was called and where."""
    if code is grpc.StatusCode.INTERNAL and details == _STREAM_ENDED:
        return TransportError(FailureKind.UNREACHABLE, f"{rpc}: the peer ended the stream")
    return TransportError(_KINDS.get(code, FailureKind.REJECTED), f"{rpc}: {code.name}: {details}")
