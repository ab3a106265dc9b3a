"""What a call ended with, in Raft's terms."""

import grpc
import pytest

from pyraft_lite.rpc.failure import failure_of
from pyraft_lite.runtime.transport import FailureKind


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "connection refused", FailureKind.UNREACHABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", FailureKind.TIMEOUT),
        (grpc.StatusCode.UNIMPLEMENTED, "unknown method", FailureKind.UNSUPPORTED),
        (grpc.StatusCode.INVALID_ARGUMENT, "no such type", FailureKind.REJECTED),
        (grpc.StatusCode.UNKNOWN, "raft is already shutdown", FailureKind.REJECTED),
        (grpc.StatusCode.INTERNAL, "out of luck", FailureKind.REJECTED),
    ],
)
def test_every_status_has_its_kind(code: grpc.StatusCode, details: str, kind: FailureKind) -> None:
    failure = failure_of("RequestVote to bob:1", code, details)
    assert failure.kind is kind
    assert str(failure).startswith("RequestVote to bob:1: ")
