"""Bugs of how entries get from the leader to others."""

from dataclasses import replace
from typing import Any

import pytest

from mutants.mutant import mutant
from pyraft_lite.core import Core, appending
from pyraft_lite.core.events import RpcResponse
from pyraft_lite.core.leader import Leader
from pyraft_lite.core.messages import AppendEntriesResponse
from pyraft_lite.core.progress import Mode, Progress, Purpose
from pyraft_lite.core.replication import Replication
from pyraft_lite.core.settings import MAX_APPEND_ENTRIES


@mutant("R7", budget=200)
def duplicates_truncate(patch: pytest.MonkeyPatch) -> None:
    """An append that arrives late cuts off what came after it, conflict or not."""

    def append_new(core: Core, request: Any) -> None:
        new = [entry for entry in request.entries if entry.index > core.commit_index]
        if new:
            if new[0].index <= core.log.last_index:
                core.truncate(new[0].index)
            core.append(new)

    patch.setattr(appending, "_append_new", append_new)


@mutant("R7")
def conflicts_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Entries that we have are skipped by their index, without a look at their term."""

    def append_new(core: Core, request: Any) -> None:
        new = [entry for entry in request.entries if entry.index > core.log.last_index]
        if new:
            core.append(new)

    patch.setattr(appending, "_append_new", append_new)


@mutant("R7")
def no_look_at_the_entry_before(patch: pytest.MonkeyPatch) -> None:
    """Entries are appended wherever the log is long enough, whatever the term of the entry before them."""
    patch.setattr(appending, "_matches", lambda core, request: request.prev_index <= core.log.last_index)


@mutant("R8")
def rejections_are_believed(patch: pytest.MonkeyPatch) -> None:
    """The last index in a rejection counts as matching."""
    original = Replication._rejected

    def rejected(replication: Replication, peer: Progress, sent: Any, response: Any) -> None:
        original(replication, peer, sent, response)
        peer.match = max(peer.match, response.last_log)

    patch.setattr(Replication, "_rejected", rejected)


@mutant("R8")
def a_hint_counts_as_a_match(patch: pytest.MonkeyPatch) -> None:
    """The last index in a success counts as matching, though it may lie beyond what the request verified."""
    original = Replication.answered

    def answered(replication: Replication, rpc_id: int, response: Any) -> Progress | None:
        peer = original(replication, rpc_id, response)
        if peer is not None and isinstance(response, AppendEntriesResponse) and response.success:
            peer.match = max(peer.match, min(response.last_log, replication._core.log.last_index))
        return peer

    patch.setattr(Replication, "answered", answered)


@mutant("R5")
def a_heartbeat_says_that_logs_match(patch: pytest.MonkeyPatch) -> None:
    """The answer to a heartbeat counts as one to an append."""
    original = Replication.answered

    def answered(replication: Replication, rpc_id: int, response: Any) -> Progress | None:
        owner = replication._owner.get(rpc_id)
        is_heartbeat = owner is not None and owner.sent[rpc_id].purpose is Purpose.HEARTBEAT
        peer = original(replication, rpc_id, response)
        if peer is not None and is_heartbeat:
            peer.match = max(peer.match, min(response.last_log, replication._core.log.last_index))
        return peer

    patch.setattr(Replication, "answered", answered)


@mutant("R8")
def the_match_moves_back_and_next_with_it_never(patch: pytest.MonkeyPatch) -> None:
    """After a rejection the leader tries the same place for ever."""

    def rejected(replication: Replication, peer: Progress, sent: Any, response: Any) -> None:
        replication._probe(peer)
        replication._back_off(peer)
        peer.next = sent.prev_index + 1

    patch.setattr(Replication, "_rejected", rejected)


@mutant("R8")
def lost_messages_of_a_pipeline_are_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    """A failure in the pipeline leaves the next index where it is: what was lost is a gap."""

    def failed(replication: Replication, peer: Progress, reason: str) -> None:
        replication._forget_sent(peer, keep=Purpose.HEARTBEAT)
        if peer.mode is Mode.SNAPSHOT:
            peer.mode = Mode.PROBE
        replication._back_off(peer)

    patch.setattr(Replication, "_failed", failed)
    patch.setattr(Replication, "_rejected", lambda replication, peer, sent, response: replication._back_off(peer))


@mutant("R5", budget=200)
def a_newer_term_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """A leader that is told of a newer term leads on."""
    original = Core._dispatch

    def dispatch(core: Core, event: Any) -> None:
        if isinstance(event, RpcResponse) and isinstance(core.role, Leader):
            core.role.rpc_response(event)
        else:
            original(core, event)

    patch.setattr(Core, "_dispatch", dispatch)
    patch.setattr(Leader, "_lease_end", lambda leader: None)


@mutant("R8")
def answers_of_a_pipeline_are_mixed_up(patch: pytest.MonkeyPatch) -> None:
    """Any answer counts for the last of the requests that are not answered yet."""
    original = Replication.answered

    def answered(replication: Replication, rpc_id: int, response: Any) -> Progress | None:
        peer = replication._owner.get(rpc_id)
        if peer is not None and peer.sent[rpc_id].purpose is Purpose.APPEND:
            rpc_id = max(rpc_id for rpc_id, sent in peer.sent.items() if sent.purpose is Purpose.APPEND)
        return original(replication, rpc_id, response)

    patch.setattr(Replication, "answered", answered)


@mutant("R8", profile="network")
def the_match_follows_every_answer(patch: pytest.MonkeyPatch) -> None:
    """The answer to an earlier request takes the match index back."""
    original = Replication._accepted

    def accepted(replication: Replication, peer: Progress, sent: Any) -> None:
        original(replication, peer, sent)
        peer.match = sent.last_index

    patch.setattr(Replication, "_accepted", accepted)


@mutant("R8", "R9", budget=200, profile="transfers")
def answers_of_an_earlier_term_count(patch: pytest.MonkeyPatch) -> None:
    """The names of requests begin anew with each leadership, so that late answers count for what is sent now."""
    original = Core.lead

    def lead(core: Core) -> None:
        core._rpc_id = 0
        original(core)

    patch.setattr(Core, "lead", lead)


@mutant("R17")
def messages_without_a_limit(patch: pytest.MonkeyPatch) -> None:
    """All that a server lacks goes into one message."""
    original = Replication._send_append

    def send_append(replication: Replication, peer: Progress) -> bool:
        settings = replication._core.settings
        replication._core.settings = replace(settings, max_append_entries=MAX_APPEND_ENTRIES)
        sent = original(replication, peer)
        replication._core.settings = settings
        return sent

    patch.setattr(Replication, "_send_append", send_append)


@mutant("R21")
def a_follower_that_is_spared_stays_spared(patch: pytest.MonkeyPatch) -> None:
    """Whom a quorum does without gets no entries for as long as it does."""

    def is_spared(replication: Replication, peer: Progress, relied_on: list[str]) -> bool:
        return peer.server.id not in replication._relied_on()

    patch.setattr(Replication, "_is_spared", is_spared)
