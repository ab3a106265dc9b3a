"""The clients' memory: what was asked for, what came of it, and what must hold because of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyraft_lite.core.events import Token
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """A client's operation, and the core's token for it.

    Attributes:
        command: What is written; None for everything else.
        at_least: For a read: the index up to which writes had been acknowledged when it was asked for.
        node, epoch: Whom it was asked of: a crash there leaves the outcome unknown.
    """

    node: SimulatedNode
    epoch: int
    command: bytes | None = None
    at_least: int = 0


class Oracle:
    """Follows every operation: each ends at most once, unless its node crashes first.

    Attributes:
        acknowledged: The commands whose success was reported: none of them may ever be lost.
        acknowledged_index: The greatest index that was reported.
    """

    def __init__(self) -> None:
        self.acknowledged: set[bytes] = set()
        self.acknowledged_index = 0
        self._open: set[Operation] = set()

    def begin(self, operation: Operation) -> Operation:
        self._open.add(operation)
        return operation

    def completed(self, token: Token, index: int) -> None:
        operation = self._end(token)
        if operation.command is not None:
            self.acknowledged.add(operation.command)
            self.acknowledged_index = max(self.acknowledged_index, index)

    def failed(self, token: Token) -> None:
        """The outcome is unknown: it may still take effect."""
        self._end(token)

    def read(self, node: SimulatedNode, token: Token, index: int) -> None:
        """A read may be answered from ``index`` on: nothing acknowledged before it was asked for may be missing
        (R16)."""
        operation = self._end(token)
        if index < operation.at_least:
            raise Violation(
                "stale read", f"{node.name} reads at {index}, but {operation.at_least} was acknowledged before"
            )

    def unanswered(self) -> list[Operation]:
        """The operations that are open though their node has run on since."""
        return [operation for operation in self._open if operation.epoch == operation.node.epoch]

    def _end(self, token: Token) -> Operation:
        assert isinstance(token, Operation)
        if token not in self._open:
            raise Violation("token", f"an operation of {token.node.name} ended twice")
        self._open.remove(token)
        return token
