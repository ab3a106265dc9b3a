"""The hard state in a stable store, under hashicorp/raft's keys: a vote counts only for the term it was given in."""

from collections.abc import Mapping

from pyraft_lite.core import HardState
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.interfaces import StableStore

CURRENT_TERM = b"CurrentTerm"
LAST_VOTE_TERM = b"LastVoteTerm"
LAST_VOTE_CANDIDATE = b"LastVoteCand"


def load_hard_state(store: StableStore) -> HardState:
    """Reads what was saved last (:func:`hard_state_values`); the zero HardState from an empty store.

    Raises:
        StorageError: the store holds something else under these keys.
    """
    term = _read_number(store, CURRENT_TERM)
    if _read_number(store, LAST_VOTE_TERM) != term:
        return HardState(term)
    try:
        return HardState(term, (store.get(LAST_VOTE_CANDIDATE) or b"").decode())
    except UnicodeDecodeError as error:
        raise StorageError(f"the stable value {LAST_VOTE_CANDIDATE.decode()} is no address: {error}") from error


def hard_state_values(state: HardState) -> Mapping[bytes, bytes]:
    """What has to be set, in one durable step, to save term and vote (R3)."""
    values = {CURRENT_TERM: state.term.to_bytes(8, "big")}
    if state.voted_for:
        values[LAST_VOTE_TERM] = values[CURRENT_TERM]
        values[LAST_VOTE_CANDIDATE] = state.voted_for.encode()
    return values


def _read_number(store: StableStore, key: bytes) -> int:
    value = store.get(key) or bytes(8)
    if len(value) != 8:
        raise StorageError(f"the stable value {key.decode()} has {len(value)} bytes, should have 8")
    return int.from_bytes(value, "big")
