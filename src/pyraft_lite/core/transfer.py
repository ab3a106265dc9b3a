"""Handing leadership to another voter (R14, dissertation 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.effects import Complete, Fail, Level
from pyraft_lite.core.errors import LeadershipLostError, TransferError, TransferInProgressError
from pyraft_lite.core.events import Token, TransferLeadership
from pyraft_lite.core.messages import TimeoutNowRequest

if TYPE_CHECKING:
    from pyraft_lite.core.leader import Leader


class Transfer:
    """At most one transfer at a time. While :attr:`active`, the leader takes no new operations."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._token: Token | None = None
        self._target: Server | None = None
        self._timeout_at = 0.0
        self._rpc_id: int | None = None
        self._asked = False

    @property
    def voids_lease(self) -> bool:
        """True during a transfer, and for the rest of the term once TimeoutNow was sent: however late it arrives, its
        election disregards the lease (R16)."""
        return self.active or self._asked

    @property
    def active(self) -> bool:
        return self._target is not None

    def deadline(self) -> float | None:
        return self._timeout_at if self.active else None

    def start(self, event: TransferLeadership) -> None:
        core = self._leader.core
        try:
            target = self._choose(event)
        except (TransferError, TransferInProgressError) as error:
            core.emit(Fail(event.token, error))
            return
        core.note(Level.INFO, "starting leadership transfer", id=target.id, address=target.address)
        self._token, self._target, self._rpc_id = event.token, target, None
        self._timeout_at = core.now + core.settings.election_timeout
        self._leader.replication.advance_now(self._leader.replication.peers[target.id])
        self.proceed()

    def proceed(self) -> None:
        """Sends TimeoutNow once the target has all of our log."""
        if self._target is None or self._rpc_id is not None:
            return
        core = self._leader.core
        peer = self._leader.replication.peers.get(self._target.id)
        if peer is None or not core.configurations.latest.is_voter(self._target.id):
            self._give_up(f"{self._target.id} is no longer a voter")
        elif peer.match == core.log.last_index:
            self._rpc_id = core.send(self._target, TimeoutNowRequest(core.me, core.term))
            self._asked = True

    def tick(self) -> None:
        if self._target is not None and self._leader.core.now >= self._timeout_at:
            what = "caught up" if self._rpc_id is None else "taken over"
            self._give_up(
                f"leadership transfer timeout: {self._target.id} at {self._target.address} has not {what} within "
                f"{self._leader.core.settings.election_timeout:g} s"
            )

    def failed(self, rpc_id: int, reason: str) -> None:
        """A request has no answer; if it was our TimeoutNow, the transfer is over."""
        if rpc_id == self._rpc_id and self._target is not None:
            self._give_up(f"failed to make TimeoutNow RPC to {self._target.id}: {reason}")

    def leave(self) -> None:
        """Leadership is lost: what a transfer wants, if it came that far."""
        if self._target is None:
            return
        expected = self._rpc_id is not None
        self._leader.core.note(
            Level.DEBUG, f"lost leadership during transfer ({'expected' if expected else 'unexpected'})"
        )
        effect = Complete(self._token) if expected else Fail(self._token, LeadershipLostError())
        self._clear()
        self._leader.core.emit(effect)

    def best_target(self) -> Server | None:
        """The voter that answered last among those with most of our log, None if no voter answers."""
        leader = self._leader
        alive = leader.core.now - leader.core.settings.leader_lease_timeout
        candidates = [
            leader.replication.peers[voter.id]
            for voter in leader.core.configurations.latest.voters
            if voter.id != leader.core.me.id and leader.replication.peers[voter.id].contact >= alive
        ]
        best = max(candidates, key=lambda peer: (peer.match, peer.contact), default=None)
        return best.server if best else None

    def _choose(self, event: TransferLeadership) -> Server:
        core = self._leader.core
        if event.server_id == core.me.id:
            raise TransferError("cannot transfer leadership to itself")
        if self.active:
            raise TransferInProgressError
        if not event.server_id:
            target = self.best_target()
            if target is None:
                raise TransferError("cannot find a voter to transfer leadership to: no other voter answers")
            return target
        server = core.configurations.latest.get(event.server_id)
        if server is None:
            raise TransferError(f"cannot transfer leadership to {event.server_id}: not in the configuration")
        if not server.is_voter:
            raise TransferError(f"cannot transfer leadership to {event.server_id}: not a voter")
        if event.address and event.address != server.address:
            raise TransferError(
                f"cannot transfer leadership to {event.server_id} at {event.address}: its address is {server.address}"
            )
        return server

    def _give_up(self, reason: str) -> None:
        token = self._token
        self._clear()
        self._leader.core.note(Level.WARNING, "leadership transfer failed", error=reason)
        self._leader.core.emit(Fail(token, TransferError(reason)))

    def _clear(self) -> None:
        self._token = self._target = self._rpc_id = None
