"""RaftAdmin: the operations of a node for administrators, with the wire protocol of Jille/raftadmin.

An operation answers at once with a token; ``Await`` of that token gives its outcome, as often as asked, until
``Forget``.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc

from pyraft_lite.core.entry import NANOSECONDS
from pyraft_lite.core.errors import OverloadedError, RaftError, TransferError
from pyraft_lite.rpc.engine import CallContext
from pyraft_lite.rpc.operations import Operations, UnknownTokenError
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.rpc.pb import raft_admin_pb2_grpc
from pyraft_lite.rpc.status import abort_with
from pyraft_lite.runtime.api import RaftOperations


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended: ``error`` is empty if it succeeded, ``index`` is 0 if it has none."""

    error: str = ""
    index: int = 0


class AdminService(raft_admin_pb2_grpc.RaftAdminServicer):
    """The service ``RaftAdmin`` of one node.

    Operations go on when the client that began them goes away; :meth:`close` ends them.

    Args:
        raft: The node.
    """

    def __init__(self, raft: RaftOperations) -> None:
        self._raft = raft
        self._operations: Operations[Outcome] = Operations(time.monotonic)

    async def until_asked(self) -> None:
        """See :meth:`Operations.until_asked`."""
        await self._operations.until_asked()

    def close(self) -> None:
        """Gives up the operations under way."""
        self._operations.close()

    # -- operations -------------------------------------------------------------------------------------------------

    async def AddVoter(self, request: pb.AddVoterRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._raft.add_voter, request.id, request.address, request.previous_index)

    async def AddNonvoter(self, request: pb.AddNonvoterRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._raft.add_nonvoter, request.id, request.address, request.previous_index)

    async def DemoteVoter(self, request: pb.DemoteVoterRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._raft.demote_voter, request.id, request.previous_index)

    async def RemoveServer(self, request: pb.RemoveServerRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._raft.remove_server, request.id, request.previous_index)

    async def ApplyLog(self, request: pb.ApplyLogRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._apply, request.data, request.extensions)

    async def Barrier(self, request: pb.BarrierRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._raft.barrier)

    async def LeadershipTransfer(self, request: pb.LeadershipTransferRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._without_index, self._raft.leadership_transfer)

    async def LeadershipTransferToServer(
        self, request: pb.LeadershipTransferToServerRequest, context: CallContext
    ) -> pb.Future:
        return await self._begin(context, self._without_index, self._transfer_to, request.id, request.address)

    async def Shutdown(self, request: pb.ShutdownRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._without_index, self._raft.shutdown)

    async def Snapshot(self, request: pb.SnapshotRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._without_index, self._raft.snapshot)

    async def VerifyLeader(self, request: pb.VerifyLeaderRequest, context: CallContext) -> pb.Future:
        return await self._begin(context, self._without_index, self._raft.verify_leader)

    # -- outcomes ---------------------------------------------------------------------------------------------------

    async def Await(self, request: pb.Future, context: CallContext) -> pb.AwaitResponse:
        """Answers when the operation has ended."""
        try:
            outcome = await self._operations.outcome(request.operation_token)
        except UnknownTokenError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return pb.AwaitResponse(error=outcome.error, index=outcome.index)

    async def Forget(self, request: pb.Future, context: CallContext) -> pb.ForgetResponse:
        """Drops the outcome; the operation goes on if it has not ended. An unknown token is no error."""
        self._operations.forget(request.operation_token)
        return pb.ForgetResponse()

    # -- questions --------------------------------------------------------------------------------------------------

    async def AppliedIndex(self, request: pb.AppliedIndexRequest, context: CallContext) -> pb.AppliedIndexResponse:
        return pb.AppliedIndexResponse(index=self._raft.applied_index)

    async def LastIndex(self, request: pb.LastIndexRequest, context: CallContext) -> pb.LastIndexResponse:
        return pb.LastIndexResponse(index=self._raft.last_index)

    async def LastContact(self, request: pb.LastContactRequest, context: CallContext) -> pb.LastContactResponse:
        contact = self._raft.last_contact
        return pb.LastContactResponse(unix_nano=0 if contact is None else int(contact * NANOSECONDS))

    async def Leader(self, request: pb.LeaderRequest, context: CallContext) -> pb.LeaderResponse:
        return pb.LeaderResponse(address=self._raft.leader.address)

    async def State(self, request: pb.StateRequest, context: CallContext) -> pb.StateResponse:
        return pb.StateResponse(state=pb.StateResponse.State.Value(self._raft.state.name))

    async def Stats(self, request: pb.StatsRequest, context: CallContext) -> pb.StatsResponse:
        return pb.StatsResponse(stats=self._raft.stats())

    async def GetConfiguration(
        self, request: pb.GetConfigurationRequest, context: CallContext
    ) -> pb.GetConfigurationResponse:
        response = pb.GetConfigurationResponse()
        for server in self._raft.configuration:
            response.servers.add(suffrage=int(server.suffrage), id=server.id, address=server.address)
        return response

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _begin(
        self, context: CallContext, operation: Callable[..., Awaitable[int]], *arguments: object
    ) -> pb.Future:
        try:
            return pb.Future(operation_token=self._operations.begin(_outcome(operation, *arguments)))
        except OverloadedError as error:
            await abort_with(context, error, retriable=False)

    async def _apply(self, data: bytes, extensions: bytes) -> int:
        return (await self._raft.apply(data, extensions)).index

    async def _transfer_to(self, server_id: str, address: str) -> None:
        if not server_id:  # To Raft that means any voter, which is not what was asked for.
            raise TransferError("cannot transfer leadership to a server without an id")
        await self._raft.leadership_transfer(server_id, address)

    async def _without_index(self, operation: Callable[..., Awaitable[object]], *arguments: object) -> int:
        await operation(*arguments)
        return 0


async def _outcome(operation: Callable[..., Awaitable[int]], *arguments: object) -> Outcome:
    try:
        return Outcome(index=await operation(*arguments))
    except RaftError as error:
        return Outcome(error=str(error))
