"""What can go wrong with an operation. Where hashicorp/raft has such an error, the message is its own, letter for
letter: clients match on them."""


class RaftError(Exception):
    """Base of every error an operation on a Raft node ends with."""

    message = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.message)


class NotLeaderError(RaftError):
    """The operation needs the leader and this node is not it."""

    message = "node is not the leader"


class LeadershipLostError(RaftError):
    """Leadership was lost while the operation was under way: it may or may not take effect."""

    message = "leadership lost while committing log"


class ShutdownError(RaftError):
    """The node has shut down."""

    message = "raft is already shutdown"


class TransferInProgressError(RaftError):
    """No new operations while leadership is being handed over."""

    message = "leadership transfer in progress"


class AbortedByRestoreError(RaftError):
    """The leader's state was replaced by a user's snapshot while the operation was under way."""

    message = "snapshot restored while committing log"


class OverloadedError(RaftError):
    """The node has as much under way as it takes, the message says of what; the operation has no effect. (Where
    hashicorp/raft lets callers queue until "timed out enqueuing operation", this node says so at once.)"""


class NothingToSnapshotError(RaftError):
    """Nothing was applied since the last snapshot."""

    message = "nothing new to snapshot"


class CantBootstrapError(RaftError):
    """The node already has state: bootstrapping would overwrite it."""

    message = "bootstrap only works on new clusters"


class UnsupportedProtocolError(RaftError):
    """The peer speaks a protocol version that has no such operation."""

    message = "operation not supported with current protocol version"


class ConfigurationError(RaftError):
    """A membership change that is not possible; the message says why."""


class CatchUpError(RaftError):
    """A new voter could not be reached or never caught up; the configuration is unchanged."""


class TransferError(RaftError):
    """A leadership transfer that is not possible or failed; the message says why."""


class CommandTooLargeError(RaftError):
    """A command that would not fit into one message to a peer."""


class StorageError(RaftError):
    """The disk failed or holds what can't be true; the node stops rather than guess."""
