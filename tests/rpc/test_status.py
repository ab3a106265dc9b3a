"""Which status a client sees."""

import grpc
import pytest
from grpc import StatusCode

from pyraft_lite.core import errors
from pyraft_lite.rpc.status import abort_with, status_code

# Error, status if retriable, status if not: the original's table, and below it what only this port has.
TABLE = [
    (errors.NotLeaderError(), StatusCode.UNAVAILABLE, StatusCode.UNKNOWN),
    (errors.LeadershipLostError(), StatusCode.UNAVAILABLE, StatusCode.UNKNOWN),
    (errors.ShutdownError(), StatusCode.UNAVAILABLE, StatusCode.UNKNOWN),
    (errors.TransferInProgressError(), StatusCode.UNAVAILABLE, StatusCode.UNKNOWN),
    (errors.AbortedByRestoreError(), StatusCode.ABORTED, StatusCode.ABORTED),
    (errors.NothingToSnapshotError(), StatusCode.FAILED_PRECONDITION, StatusCode.FAILED_PRECONDITION),
    (errors.CantBootstrapError(), StatusCode.FAILED_PRECONDITION, StatusCode.FAILED_PRECONDITION),
    (errors.UnsupportedProtocolError(), StatusCode.UNIMPLEMENTED, StatusCode.UNIMPLEMENTED),
    (errors.RaftError("any other"), StatusCode.UNKNOWN, StatusCode.UNKNOWN),
    (errors.ConfigurationError("any other"), StatusCode.UNKNOWN, StatusCode.UNKNOWN),
    (errors.StorageError("any other"), StatusCode.UNKNOWN, StatusCode.UNKNOWN),
    (errors.CommandTooLargeError("too large"), StatusCode.INVALID_ARGUMENT, StatusCode.INVALID_ARGUMENT),
    (errors.OverloadedError("overloaded"), StatusCode.RESOURCE_EXHAUSTED, StatusCode.RESOURCE_EXHAUSTED),
]


@pytest.mark.parametrize(("error", "retriable", "final"), TABLE, ids=lambda value: type(value).__name__)
def test_every_error_has_its_status(error: errors.RaftError, retriable: StatusCode, final: StatusCode) -> None:
    assert status_code(error, retriable=True) is retriable
    assert status_code(error, retriable=False) is final


async def test_abort_carries_status_and_message() -> None:
    class Context:
        async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
            raise KeyError(code, details)

    with pytest.raises(KeyError) as aborted:
        await abort_with(Context(), errors.NotLeaderError(), retriable=True)  # type: ignore[arg-type]
    assert aborted.value.args == (StatusCode.UNAVAILABLE, "node is not the leader")
