"""Cluster membership: who is in the cluster, who votes, and how one change leads to the next configuration.

The rules of :func:`next_configuration` and the wording of the errors are hashicorp/raft's, so that tools written
for the one read the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol

from pyraft_lite.core.errors import ConfigurationError


class Suffrage(IntEnum):
    """Whether a server's vote counts. ``STAGING`` is legacy: it is read, never written."""

    VOTER = 0
    NONVOTER = 1
    STAGING = 2

    @property
    def label(self) -> str:
        """The name as hashicorp/raft prints it."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Server:
    """One member: its stable ``id``, the ``address`` (``host:port``) peers dial, and its suffrage."""

    id: str
    address: str
    suffrage: Suffrage = Suffrage.VOTER

    @property
    def is_voter(self) -> bool:
        return self.suffrage is Suffrage.VOTER

    def __str__(self) -> str:
        return f"{{{self.suffrage.label} {self.id} {self.address}}}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """The members of the cluster, in the order they were added.

    Attributes:
        voters: Those of them that vote.
    """

    servers: tuple[Server, ...] = ()
    voters: tuple[Server, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "voters", tuple(server for server in self.servers if server.is_voter))

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __bool__(self) -> bool:
        return bool(self.servers)

    def __str__(self) -> str:
        return "{[" + " ".join(map(str, self.servers)) + "]}"

    def describe(self) -> str:
        """The servers with field names, as hashicorp/raft's logs and stats show them."""
        shown = (f"{{Suffrage:{s.suffrage.label} ID:{s.id} Address:{s.address}}}" for s in self.servers)
        return "[" + " ".join(shown) + "]"

    def get(self, server_id: str) -> Server | None:
        """The server of this id, or None."""
        return next((server for server in self.servers if server.id == server_id), None)

    def at_address(self, address: str) -> Server | None:
        """The server of this address, or None."""
        return next((server for server in self.servers if server.address == address), None)

    def is_voter(self, server_id: str) -> bool:
        server = self.get(server_id)
        return server is not None and server.is_voter

    def check(self) -> None:
        """Raise :class:`ConfigurationError` unless ids and addresses are set and unique, and someone votes."""
        ids: set[str] = set()
        addresses: set[str] = set()
        for server in self.servers:
            if not server.id:
                raise ConfigurationError(f"empty ID in configuration: {self}")
            if not server.address:
                raise ConfigurationError(f"empty address in configuration: {server}")
            if server.id in ids:
                raise ConfigurationError(f"found duplicate ID in configuration: {server.id}")
            if server.address in addresses:
                raise ConfigurationError(f"found duplicate address in configuration: {server.address}")
            ids.add(server.id)
            addresses.add(server.address)
        if not self.voters:
            raise ConfigurationError(f"need at least one voter in configuration: {self}")


class ConfigurationCodec(Protocol):
    """Turns configurations into the bytes that entries carry, and back."""

    def encode(self, configuration: Configuration, /) -> bytes: ...

    def decode(self, data: bytes, /) -> Configuration:
        """Raises ValueError if ``data`` is not an encoded configuration."""
        ...


class ChangeCommand(Enum):
    """The membership changes; the values are the names hashicorp/raft logs."""

    ADD_VOTER = "AddVoter"
    ADD_NONVOTER = "AddNonvoter"
    DEMOTE_VOTER = "DemoteVoter"
    REMOVE_SERVER = "RemoveServer"


@dataclass(frozen=True, slots=True)
class Change:
    """A requested membership change.

    Attributes:
        command: What to do.
        server_id: Whom it is about.
        address: Where that server listens; only the two ``ADD`` commands use it.
        previous_index: If not 0, the change is refused unless the latest configuration has this index.
    """

    command: ChangeCommand
    server_id: str
    address: str = ""
    previous_index: int = 0


def next_configuration(current: Configuration, change: Change) -> Configuration:
    """The configuration that ``change`` makes of ``current``.

    Adding a server that is there updates its address; ``ADD_VOTER`` also promotes a nonvoter, ``ADD_NONVOTER`` never
    demotes a voter. Demoting or removing a server that is not there changes nothing.

    Raises:
        ConfigurationError: the result would not be a valid configuration.
    """
    servers = list(current.servers)
    at = next((i for i, server in enumerate(servers) if server.id == change.server_id), None)
    match change.command:
        case ChangeCommand.ADD_VOTER | ChangeCommand.ADD_NONVOTER:
            suffrage = Suffrage.VOTER if change.command is ChangeCommand.ADD_VOTER else Suffrage.NONVOTER
            if at is None:
                servers.append(Server(change.server_id, change.address, suffrage))
            else:
                if servers[at].is_voter:
                    suffrage = Suffrage.VOTER
                servers[at] = Server(change.server_id, change.address, suffrage)
        case ChangeCommand.DEMOTE_VOTER:
            if at is not None:
                servers[at] = Server(servers[at].id, servers[at].address, Suffrage.NONVOTER)
        case ChangeCommand.REMOVE_SERVER:
            if at is not None:
                del servers[at]
    result = Configuration(tuple(servers))
    result.check()
    return result
