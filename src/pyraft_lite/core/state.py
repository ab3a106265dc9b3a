"""What a node is and what it must never forget."""

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    """The role of a node; the numbers are those of RaftAdmin's ``State``."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    SHUTDOWN = 3


@dataclass(frozen=True, slots=True)
class HardState:
    """The current term, and the address this node voted for in it ("" if it has not voted). Durable as one (R3, R4)."""

    term: int = 0
    voted_for: str = ""
