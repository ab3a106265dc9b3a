"""A run for people to read: who was sent what when, and what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pyraft_lite.core import effects, events
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotRequest,
    Request,
    RequestPreVoteRequest,
    RequestVoteRequest,
    Response,
    TimeoutNowResponse,
)


class Trace:
    """An observer that keeps the last lines of a run. Heartbeats that led to nothing are left out.

    Args:
        limit: How many steps to keep; None: all.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._steps: deque[list[str]] = deque(maxlen=limit)

    def __call__(self, time: float, node: str, event: events.Event, outcome: list[effects.Effect]) -> None:
        if not _is_idle(event, outcome):
            self._steps.append(list(describe_step(time, node, event, outcome)))

    def lines(self) -> Iterator[str]:
        """What was kept, in order of time."""
        for step in self._steps:
            yield from step


def describe_step(time: float, node: str, event: events.Event, outcome: list[effects.Effect]) -> Iterator[str]:
    """One line for what happened, and one for each effect, those of one kind that name no peer left out."""
    yield f"{time:9.4f}  {node}  {describe_event(event)}"
    for effect in outcome:
        text = describe_effect(effect)
        if text:
            yield f"{'':15}{text}"


def describe_event(event: events.Event) -> str:
    """In one line, without what identifies RPCs and operations."""
    match event:
        case events.Receive():
            return f"receives from {event.request.sender.id}: {describe_request(event.request)}"
        case events.RpcResponse():
            return f"has an answer: {describe_response(event.response)}"
        case events.RpcFailed():
            return f"has no answer: {event.reason}"
        case events.Written():
            return f"has on disk: write {event.seq}"
        case events.Propose():
            return f"is asked for {len(event.proposals)} writes"
        case events.ReadIndex():
            return "is asked for a read" + (" by lease" if event.lease else "")
        case events.ChangeMembership():
            return f"is asked for {event.change.command.value} {event.change.server_id}"
        case events.TransferLeadership():
            return f"is asked to hand over to {event.server_id or 'anybody'}"
        case events.SnapshotTaken() | events.SnapshotReceived():
            return f"has stored a snapshot up to {event.meta.term}-{event.meta.index}"
        case events.LeaderGone():
            return f"learns that nobody is at {event.address}"
        case events.Tick():
            return "looks at the clock"
        case _:
            return str(event)


def describe_effect(effect: effects.Effect) -> str:
    """In one line; "" for what says nothing about the protocol."""
    match effect:
        case effects.Write():
            parts = [
                f"term {effect.hard_state.term}, vote {effect.hard_state.voted_for or 'none'}"
                if effect.hard_state
                else "",
                f"cut from {effect.truncate_from}" if effect.truncate_from is not None else "",
                describe_entries(effect.entries),
            ]
            return f"writes ({effect.seq}): " + "; ".join(filter(None, parts))
        case effects.Send() | effects.SendSnapshot():
            return f"to {effect.to.id}: {describe_request(effect.request)}"
        case effects.Respond():
            return f"answers: {describe_response(effect.response)}"
        case effects.Refuse():
            return f"refuses: {effect.error}"
        case effects.Apply():
            return f"commits up to {effect.to_index}" + (f", {len(effect.waiting)} wait" if effect.waiting else "")
        case effects.RoleChanged():
            return f"is {effect.state.name} in term {effect.term}, leader {effect.leader_id or 'unknown'}"
        case effects.Note():
            shown = " ".join(f"{name}={value}" for name, value in effect.fields.items())
            return f"# {effect.message} {shown}".rstrip()
        case effects.ReadReady():
            return f"may be read at {effect.index}"
        case effects.Fail():
            return f"fails a request: {effect.error}"
        case effects.CompactLog():
            return f"compacts up to {effect.to_index}"
        case effects.RestoreSnapshot():
            return f"restores the snapshot up to {effect.meta.term}-{effect.meta.index}"
        case effects.Stopped():
            return f"stops {effect.reason}".rstrip()
        case _:
            return ""


def describe_request(request: Request) -> str:
    """As ``term-index`` what has both."""
    match request:
        case AppendEntriesRequest() if request.is_heartbeat:
            return f"heartbeat of term {request.term}"
        case AppendEntriesRequest():
            what = describe_entries(request.entries) or "nothing"
            after = f"{request.prev_term}-{request.prev_index}"
            return f"append {what} after {after}, committed {request.leader_commit}, term {request.term}"
        case RequestVoteRequest():
            how = " (handover)" if request.leadership_transfer else ""
            return f"vote for me in term {request.term}{how}, my log ends at {request.last_term}-{request.last_index}"
        case RequestPreVoteRequest():
            return f"would you vote in term {request.term}, my log ends at {request.last_term}-{request.last_index}"
        case InstallSnapshotRequest():
            return f"snapshot up to {request.last_term}-{request.last_index}, term {request.term}"
        case _:
            return "stand for election now"


def describe_response(response: Response) -> str:
    """Yes or no, and the term."""
    if isinstance(response, TimeoutNowResponse):
        return "yes"
    if isinstance(response, AppendEntriesResponse):
        what = f"log ends at {response.last_log}"
        return f"{'yes' if response.success else 'no'}, {what}, term {response.term}"
    yes = response.success if hasattr(response, "success") else response.granted
    return f"{'yes' if yes else 'no'}, term {response.term}"


def describe_entries(entries: tuple[Entry, ...]) -> str:
    """First and last."""
    if not entries:
        return ""
    first, last = (f"{entry.term}-{entry.index} {entry.type.name.lower()}" for entry in (entries[0], entries[-1]))
    return first if len(entries) == 1 else f"{first} .. {last}"


def _is_idle(event: events.Event, outcome: list[effects.Effect]) -> bool:
    match event:
        case events.Receive(request=AppendEntriesRequest(is_heartbeat=True)):
            return len(outcome) == 1
        case events.Tick() | events.RpcResponse():
            return all(isinstance(e, effects.Send) and _is_heartbeat(e) for e in outcome)
        case _:
            return False


def _is_heartbeat(send: effects.Send) -> bool:
    return isinstance(send.request, AppendEntriesRequest) and send.request.is_heartbeat
