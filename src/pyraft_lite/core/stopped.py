"""The end: a node that was shut down, removed, or whose storage failed answers everything with an error."""

from typing import ClassVar

from pyraft_lite.core import events
from pyraft_lite.core.effects import Fail
from pyraft_lite.core.errors import RaftError, ShutdownError
from pyraft_lite.core.role import Role
from pyraft_lite.core.state import State


class StoppedRole(Role):
    """State SHUTDOWN; there is no way out of it."""

    state: ClassVar[State] = State.SHUTDOWN

    def not_available(self) -> RaftError:
        return ShutdownError()

    def transfer_leadership(self, event: events.TransferLeadership) -> None:
        self.core.emit(Fail(event.token, ShutdownError()))
