"""The user's state machine: what an application writes to be replicated."""

from typing import BinaryIO, Protocol

from pyraft_lite.core.entry import Entry


class Sink(Protocol):
    """Where a snapshot is written to."""

    def write(self, data: bytes, /) -> int:
        """Adds bytes; returns how many, which is all of them."""
        ...


class FSMSnapshot(Protocol):
    """A frozen view of the state, made by :meth:`FSM.snapshot`."""

    def persist(self, sink: Sink, /) -> None:
        """Writes the state. Called on another thread than the FSM's, while later entries are applied: it must not
        look at state that :meth:`FSM.apply` changes. An exception cancels the snapshot."""
        ...


class FSM(Protocol):
    """A deterministic state machine. All its methods are called on one thread of its own, one at a time; they may be
    slow, Raft goes on meanwhile. With ``Config.apply_on_loop``, ``apply`` is called on the event loop instead, still
    never beside another. An exception out of ``apply`` or ``restore`` is fatal to the node: replicas would
    differ.
    """

    def apply(self, entry: Entry, /) -> object:
        """Applies one committed command; called once per ``COMMAND`` entry, in log order. What it returns is what
        ``Raft.apply`` gives the caller on the node that proposed it. It must depend on nothing but the entry and the
        state."""
        ...

    def snapshot(self) -> FSMSnapshot:
        """Freezes the state as of the last applied entry; must be quick, writing it out comes later."""
        ...

    def restore(self, source: BinaryIO, /) -> None:
        """Replaces the state by what :meth:`FSMSnapshot.persist` once wrote."""
        ...
