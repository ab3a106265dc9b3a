"""What a failed gRPC call to a peer means to Raft."""

import grpc

from pyraft_lite.runtime.transport import FailureKind, TransportError

_KINDS = {
    grpc.StatusCode.UNAVAILABLE: FailureKind.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: FailureKind.TIMEOUT,
    grpc.StatusCode.UNIMPLEMENTED: FailureKind.UNSUPPORTED,
}


def failure_of(rpc: str, code: grpc.StatusCode, details: str) -> TransportError:
    """The TransportError for a call that ended with a status; ``rpc`` says in its message what was called and where."""
    return TransportError(_KINDS.get(code, FailureKind.REJECTED), f"{rpc}: {code.name}: {details}")
