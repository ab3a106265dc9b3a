"""The clients' memory: what was asked for, what came of it, and what must hold because of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyraft_lite.core.errors import CommandTooLargeError, NotLeaderError, RaftError, TransferInProgressError
from pyraft_lite.core.events import Token
from pyraft_lite.sim.linearizability import Operation
from pyraft_lite.sim.violation import Violation
from pyraft_lite.sim.workload import Read, Write

if TYPE_CHECKING:
    from pyraft_lite.core.entry import Entry
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.world import World

REFUSALS = (NotLeaderError, TransferInProgressError, CommandTooLargeError)
"""What fails with one of these was never proposed; all other failures leave the outcome unknown."""


@dataclass(eq=False, slots=True)
class Request:
    """What a client or an operator asked of a node, and the core's token for it.

    Attributes:
        node, epoch: Whom it was asked of, and in which of its lives: a crash there leaves the outcome unknown.
        number: Of a write, what its entry carries in ``extensions``, so that it is known again wherever it is applied.
        asked: The read or write; None for what operators ask.
        called: When, in the order of all that happens.
        at_least: For a read: the index up to which writes had been acknowledged when it was asked for.
    """

    node: SimulatedNode
    epoch: int
    number: int
    asked: Read | Write | None
    called: int
    at_least: int


class Oracle:
    """Follows every request: each ends at most once, unless its node crashes first.

    Attributes:
        acknowledged: The index of each write that was acknowledged, by its number: none of them may ever be lost.
        acknowledged_index: The greatest of these.
        history: The reads and writes that ended well, for the linearizability check.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.acknowledged: dict[int, int] = {}
        self.acknowledged_index = 0
        self.history: list[Operation] = []
        self._open: dict[Request, None] = {}
        self._writes: dict[bytes, Request] = {}
        self._refused: set[bytes] = set()
        self._applied: dict[bytes, tuple[int, int, object]] = {}  # extensions -> index, when, what the FSM gave

    def begin(self, node: SimulatedNode, asked: Read | Write | None = None) -> Request:
        """Takes note of a request that is about to be made."""
        number = self._world.unique()
        request = Request(node, node.epoch, number, asked, number, self.acknowledged_index)
        self._open[request] = None
        if isinstance(asked, Write):
            self._writes[b"%d" % number] = request
        return request

    # -- how requests end -------------------------------------------------------------------------------------------

    def completed(self, token: Token) -> None:
        """What an operator asked for is done."""
        self._end(token)

    def applied(self, token: Token, index: int, output: object) -> None:
        """A write is acknowledged."""
        request = self._end(token)
        key = b"%d" % request.number
        if key not in self._applied or self._applied[key][0] != index:
            raise Violation("acknowledged writes", f"{request.node.name} acknowledges at {index} what is not there")
        self.acknowledged[request.number] = index
        self.acknowledged_index = max(self.acknowledged_index, index)
        if request.asked is not None:
            self._writes.pop(key)
            self.history.append(Operation(request.asked.input, request.called, self._world.unique(), output))

    def failed(self, token: Token, error: RaftError) -> None:
        """The outcome is unknown, and may still take effect, unless the error says that it was never tried."""
        request = self._end(token)
        if isinstance(error, REFUSALS):
            key = b"%d" % request.number
            self._refused.add(key)
            self._writes.pop(key, None)

    def read(self, token: Token, index: int) -> None:
        """A read may be answered from ``index`` on: nothing acknowledged before it was asked for may be missing
        (R16)."""
        request = self._end(token)
        if index < request.at_least:
            raise Violation(
                "stale read", f"{request.node.name} reads at {index}, but {request.at_least} was acknowledged before"
            )
        asked = request.asked
        assert isinstance(asked, Read), "only reads are answered so"

        def answer(fsm: object) -> None:
            output = asked.query(fsm)
            self.history.append(Operation(asked.input, request.called, self._world.unique(), output, True))

        request.node.machine.when_applied(index, answer)

    # -- what is checked --------------------------------------------------------------------------------------------

    def first_applied(self, entry: Entry, output: object) -> None:
        """An entry was applied for the first time anywhere."""
        if not entry.extensions:
            return
        if entry.extensions in self._refused:
            raise Violation("refused writes", f"{entry} was refused, and is committed")
        if entry.extensions in self._applied:
            index, *_ = self._applied[entry.extensions]
            raise Violation("no write twice", f"{entry} was applied at {index} before")
        self._applied[entry.extensions] = (entry.index, self._world.unique(), output)

    def unanswered(self) -> list[Request]:
        """The requests that are open though their node has run on since."""
        return [request for request in self._open if request.epoch == request.node.epoch]

    def whole_history(self) -> list[Operation]:
        """All reads and writes that had an effect. Whatever was not acknowledged, and was not committed up to now, has
        none; what was committed took effect before it was first applied, and that showed its output."""
        unsure = [
            Operation(request.asked.input, request.called, *self._applied[key][1:])
            for key, request in self._writes.items()
            if request.asked is not None and key in self._applied
        ]
        return self.history + unsure

    def _end(self, token: Token) -> Request:
        assert isinstance(token, Request)
        if token not in self._open:
            raise Violation("token", f"a request to {token.node.name} ended twice")
        del self._open[token]
        return token
