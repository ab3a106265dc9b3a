"""Which gRPC status a failed Raft operation ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from grpc import StatusCode

from pyraft_lite.core import errors

if TYPE_CHECKING:
    from pyraft_lite.rpc.engine import CallContext


def status_code(error: errors.RaftError, *, retriable: bool) -> StatusCode:
    """The status of ``error``.

    Args:
        error: What the operation ended with.
        retriable: Whether doing the operation a second time does no harm. If so, an error that another node, or this
            one later, may not have is UNAVAILABLE: clients retry that by themselves.
    """
    match error:
        case (
            errors.NotLeaderError()
            | errors.LeadershipLostError()
            | errors.ShutdownError()
            | errors.TransferInProgressError()
        ):
            return StatusCode.UNAVAILABLE if retriable else StatusCode.UNKNOWN
        case errors.OverloadedError():
            return StatusCode.RESOURCE_EXHAUSTED
        case errors.AbortedByRestoreError():
            return StatusCode.ABORTED
        case errors.NothingToSnapshotError() | errors.CantBootstrapError():
            return StatusCode.FAILED_PRECONDITION
        case errors.UnsupportedProtocolError():
            return StatusCode.UNIMPLEMENTED
        case errors.CommandTooLargeError():
            return StatusCode.INVALID_ARGUMENT
        case _:
            return StatusCode.UNKNOWN


async def abort_with(context: CallContext, error: errors.RaftError, *, retriable: bool) -> NoReturn:
    """Ends the call with the status of ``error`` and its message."""
    await context.abort(status_code(error, retriable=retriable), str(error))
