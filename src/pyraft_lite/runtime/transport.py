"""What a Raft node needs of the network. ``pyraft_lite.rpc`` keeps this contract over gRPC."""

from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Protocol, TypeAlias

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Request,
    Response,
)


class FailureKind(Enum):
    """Why an RPC to a peer has no response."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    REJECTED = "rejected"


class TransportError(Exception):
    """An RPC to a peer that ended without a response.

    Attributes:
        kind: ``UNSUPPORTED`` if the peer does not know the method; ``REJECTED`` if it answered with an error.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


Answered: TypeAlias = Callable[[AppendEntriesResponse | TransportError], None]
"""Hears what became of a request to a peer."""

Answer: TypeAlias = Callable[[Response | RaftError], None]
"""Takes the response to a peer's request, or why there is none."""


class Pipeline(Protocol):
    """A stream of appends to one peer, answered in order."""

    def send(self, request: AppendEntriesRequest, answered: Answered, /) -> None:
        """Queues a request. ``answered`` is called once: with the response, or with a TransportError as soon as the
        stream breaks, is closed, or the oldest unanswered request is older than the transport's deadline; after that
        every later request ends so too, at once, and the caller opens a new pipeline."""
        ...

    def close(self) -> None:
        """Breaks the stream: what is unanswered ends with TransportError. Never blocks."""
        ...


class RpcHandler(Protocol):
    """What the transport calls with what peers send."""

    def handle(self, request: Request, answer: Answer, /) -> None:
        """Takes in any request but InstallSnapshot. ``answer`` is called once, maybe before this returns; it must not
        raise. With a RaftError the peer gets an RPC error."""
        ...

    async def handle_snapshot(
        self, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes], /
    ) -> InstallSnapshotResponse:
        """Takes a snapshot in. The transport drains what of ``chunks`` is left unread when this returns (R15). If they
        raise anything, the snapshot is not whole, and RaftError is raised here."""
        ...


class Transport(Protocol):
    """RPCs to and from peers. Every method is called on the event loop."""

    def bind(self, handler: RpcHandler, /) -> None:
        """Says who answers peers; called once, before the first request is let in."""
        ...

    async def send(self, to: Server, request: Request, /) -> Response:
        """One unary RPC, with a deadline.

        Raises:
            TransportError: there is no response.
        """
        ...

    def pipeline(self, to: Server, /) -> Pipeline:
        """Opens a stream of appends; returns at once, a failure shows in the requests' answers."""
        ...

    async def install_snapshot(
        self, to: Server, request: InstallSnapshotRequest, chunks: AsyncIterator[bytes], /
    ) -> InstallSnapshotResponse:
        """Sends a snapshot. The deadline is on progress, not on the whole: a stream that stalls fails.

        Raises:
            TransportError: there is no response.
        """
        ...

    async def until_disconnected(self, address: str, /) -> None:
        """Connects to ``address``, as often as it takes, and returns when that connection breaks (R19)."""
        ...

    async def is_refused(self, address: str, /) -> bool:
        """True if a new connection to ``address`` is refused at once: nobody listens there (R19). Any doubt is
        False."""
        ...

    async def close(self) -> None:
        """Breaks all connections to peers."""
        ...
