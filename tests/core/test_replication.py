"""R8, R17: how a leader brings the others up to date."""

from driver import Node, leader, members, new_leader, peer, snapshot_of

from pyraft_lite.core import Settings
from pyraft_lite.core.effects import Apply, Channel, CloseStream, SendSnapshot
from pyraft_lite.core.events import RpcFailed, RpcResponse, SnapshotTaken
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    RequestVoteResponse,
)
from pyraft_lite.core.replication import FIRST_RETRY
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES


def spans(node: Node, to: str = "B") -> list[tuple[int, int]]:
    """The first and last index of each unanswered append."""
    return [(request.prev_index + 1, request.prev_index + len(request.entries)) for _, request in node.appends(to)]


def rejected(last_log: int, term: int = 2) -> AppendEntriesResponse:
    return AppendEntriesResponse(term, last_log, False, no_retry_backoff=True)


def snapshots(node: Node, to: str = "B") -> list[SendSnapshot]:
    return [send for send in node.unanswered.values() if isinstance(send, SendSnapshot) and send.to.id == to]


def compact(node: Node, index: int) -> None:
    """Takes a snapshot at ``index``; with ``trailing_logs=0`` nothing before it stays in the log."""
    term = node.core.log.term(index)
    assert term is not None
    node.step(SnapshotTaken(snapshot_of(index, term, members("ABC"))))


def leader_without_log() -> Node:
    """A new leader that has its log up to entry 5 in a snapshot, the no-op at 6; B has not answered."""
    snapshot = snapshot_of(5, 1, members("ABC"))
    node = Node(snapshot=snapshot, settings=Settings(trailing_logs=0))
    node.tick_at_deadline()
    while not node.appends("B"):
        for send in list(node.unanswered.values()):
            node.answer(send)
        node.durable()
    return node


# -- probing and streaming -------------------------------------------------------------------------------------------


def test_a_new_leader_sends_heartbeats_and_probes_with_its_no_op():
    node = new_leader()
    for to in "BC":
        assert [send.request for send in node.heartbeats(to)] == [AppendEntriesRequest(2, peer("A"))]
        ((send, request),) = node.appends(to)
        assert (request.prev_index, request.prev_term, len(request.entries)) == (1, 1, 1)
        assert send.channel is Channel.UNARY


def test_only_one_probe_is_under_way():
    node = new_leader()
    node.propose("x", "y")
    assert spans(node) == [(2, 2)]


def test_after_a_match_entries_are_streamed_without_waiting():
    node = leader(settings=Settings(max_in_flight=3))
    for token in "xyz":
        node.propose(token)
    assert spans(node) == [(3, 3), (4, 4), (5, 5)]
    assert {send.channel for send, _ in node.appends("B")} == {Channel.STREAM}


def test_no_more_than_max_in_flight_messages_are_unanswered_and_the_next_has_all_the_rest():
    node = leader(settings=Settings(max_in_flight=2))
    for token in "vwxyz":
        node.propose(token)
    assert spans(node) == [(3, 3), (4, 4)]
    node.answer(node.appends("B")[0][0])
    assert spans(node) == [(4, 4), (5, 7)]


def test_the_commit_notice_keeps_to_max_in_flight():
    node = leader(settings=Settings(max_in_flight=1))
    node.propose("x")
    node.answer(node.appends("C")[0][0])
    node.durable()
    node.propose("y")
    node.tick(after=0.05)
    assert spans(node) == [(3, 3)]
    node.durable()
    node.answer_all()
    node.tick(after=0.05)
    assert [request.leader_commit for _, request in node.appends("B")] == [4]


def test_a_message_has_at_most_max_append_entries():
    node = leader(settings=Settings(max_append_entries=3, max_in_flight=3))
    node.propose(*range(7))
    assert spans(node) == [(3, 5), (6, 8), (9, 9)]


def test_a_message_has_at_most_as_many_bytes_as_a_go_peer_takes():
    node = leader()
    node.propose(*range(3), data=bytes(MAX_MESSAGE_BYTES // 2 - 100))
    assert spans(node) == [(3, 4), (5, 5)]
    assert all(sum(e.size for e in request.entries) <= MAX_MESSAGE_BYTES for _, request in node.appends("B"))


def test_an_entry_as_big_as_a_message_goes_alone():
    node = leader(settings=Settings(max_in_flight=3))
    node.propose("small")
    node.propose("big", "next", data=bytes(MAX_MESSAGE_BYTES - 64))
    assert spans(node) == [(3, 3), (4, 4), (5, 5)]


def test_a_command_that_cannot_fit_is_refused_and_the_others_are_taken():
    node = leader()
    node.propose("big", data=bytes(MAX_MESSAGE_BYTES - 63))
    assert f"does not fit into a message: the limit is {MAX_MESSAGE_BYTES}" in node.error("big")
    node.propose("fits")
    node.settle()
    assert node.outcomes["fits"] == 3


# -- rejections ------------------------------------------------------------------------------------------------------


def test_a_rejection_with_a_shorter_log_goes_back_to_its_end_at_once():
    node = new_leader(terms=[1] * 50)
    node.answer(node.appends("B")[0][0], rejected(last_log=7))
    assert spans(node) == [(8, 51)], "the no-op, still in memory only, follows in the next message"
    node.answer(node.appends("B")[0][0])
    assert spans(node) == [(52, 52)]


def test_rejections_of_a_long_log_step_back_ever_further():
    node = new_leader(terms=[1] * 50)
    asked = []
    while not asked or asked[-1] > 1:
        (send, request), *_ = node.appends("B")
        asked.append(request.prev_index)
        node.answer(send, rejected(last_log=99))
    assert asked == [51, 50, 48, 44, 36, 20, 0]


def test_the_step_back_is_small_again_after_a_match():
    node = new_leader(terms=[1] * 50)
    for _ in range(4):
        node.answer(node.appends("B")[0][0], rejected(last_log=99))
    node.answer(node.appends("B")[0][0])
    (send, request), *_ = node.appends("B")
    node.answer(send, rejected(last_log=99))
    assert spans(node) == [(request.prev_index, 51)]


def test_a_rejection_without_the_flag_is_followed_by_a_pause():
    node = new_leader(terms=[1] * 50)
    node.answer(node.appends("B")[0][0], AppendEntriesResponse(2, 7, False))
    assert spans(node) == []
    node.tick(after=2 * FIRST_RETRY)
    assert spans(node) == [(8, 51)]


def test_who_rejects_even_the_beginning_of_the_log_is_not_asked_again_at_once():
    node = new_leader(terms=[1] * 5)
    node.answer(node.appends("B")[0][0], rejected(last_log=0))
    assert spans(node)[0][0] == 1
    node.answer(node.appends("B")[0][0], rejected(last_log=99))
    assert spans(node) == []
    node.tick(after=2 * FIRST_RETRY)
    assert spans(node)[0][0] == 1


def test_after_a_rejection_answers_to_earlier_messages_count_no_more():
    node = leader()
    node.propose("x")
    node.propose("y")
    (first, _), (second, _) = node.appends("B")
    node.answer(first, rejected(last_log=2))
    assert spans(node)[-1] == (2, 4)
    assert node.answer(second) == []
    assert node.core.commit_index == 2


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_failure_leads_to_a_probe_after_the_last_match():
    node = leader()
    node.propose("x")
    node.propose("y")
    node.fail(node.appends("B")[0][0])
    node.unanswered = {i: send for i, send in node.unanswered.items() if send.to.id != "B"}
    node.tick(after=2 * FIRST_RETRY)
    assert spans(node) == [(3, 4)]
    assert node.appends("B")[0][0].channel is Channel.UNARY


def test_the_pause_after_failures_doubles_up_to_the_election_timeout():
    node = leader()
    node.propose("x")
    node.durable()
    pauses = []
    for _ in range(9):
        failed_at = node.now
        node.fail(node.appends("B")[0][0])
        while not node.appends("B"):
            for send in node.heartbeats("B"):
                node.fail(send)
            node.answer_all("C")
            node.tick_at_deadline()
        pauses.append(round(node.now - failed_at, 6))
    assert pauses == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1, 1]


def test_an_answered_heartbeat_ends_a_long_pause():
    node = leader()
    node.propose("x")
    node.durable()
    for _ in range(6):
        node.fail(node.appends("B")[0][0])
        while not node.appends("B"):
            for send in node.heartbeats("B"):
                node.fail(send)
            node.answer_all("C")
            node.tick_at_deadline()
    node.fail(node.appends("B")[0][0])
    while not node.heartbeats("B"):
        node.answer_all("C")
        node.tick_at_deadline()
    node.answer(node.heartbeats("B")[0])
    node.tick(after=FIRST_RETRY)
    assert len(node.appends("B")) == 1


def test_one_heartbeat_at_a_time():
    node = leader()
    for _ in range(4):
        node.tick(after=0.2)
        node.answer_all("C")
    assert len(node.heartbeats("B")) == 1


def test_heartbeats_go_on_at_a_tenth_of_the_timeout_to_its_double():
    node = leader()
    node.tick_at_deadline()
    node.answer_all()
    sent_at = node.now
    node.tick_at_deadline()
    assert len(node.heartbeats("B")) == 1
    assert round(node.now - sent_at, 6) == 0.15


def test_answers_and_failures_nobody_waits_for_change_nothing():
    node = leader()
    for rpc_id in (1, 9999):
        assert node.step(RpcResponse(rpc_id, AppendEntriesResponse(2, 99, True))) == []
        assert node.step(RpcFailed(rpc_id, "late")) == []


def test_an_answer_of_another_kind_says_nothing_of_the_log():
    node = leader()
    node.propose("x")
    node.durable()
    for to in "BC":
        node.answer(node.appends(to)[0][0], RequestVoteResponse(2, True))
    assert node.core.commit_index == 2


# -- the commit notice -----------------------------------------------------------------------------------------------


def test_idle_servers_are_told_of_a_commit_within_the_commit_timeout():
    node = leader()
    node.propose("x")
    node.settle()
    assert node.of(Apply) == []
    assert node.core.deadline() <= node.now + 0.05
    node.tick(after=0.05)
    assert {request.leader_commit for to in "BC" for _, request in node.appends(to)} == {3}
    assert spans(node) == [(4, 3)]


def test_who_was_told_of_a_commit_with_entries_gets_no_notice():
    node = leader()
    node.propose("x")
    node.settle()
    node.propose("y")
    node.tick(after=0.05)
    assert spans(node) == [(4, 4)]


def test_a_server_that_matches_only_after_the_commit_is_told_of_it():
    node = new_leader()
    node.durable()
    node.answer_all("C")
    node.tick(after=0.05)
    node.answer_all("B")
    node.tick(after=0.05)
    assert [request.leader_commit for _, request in node.appends("B")] == [2]


# -- snapshots -------------------------------------------------------------------------------------------------------


def test_a_server_that_needs_compacted_entries_is_sent_the_snapshot():
    node = leader_without_log()
    node.answer(node.appends("B")[0][0], rejected(last_log=3))
    (send,) = snapshots(node)
    assert send.snapshot_id == "1-5"
    assert send.request == InstallSnapshotRequest(2, peer("A"), 5, 1, members("ABC"), 1, 10)


def test_during_a_snapshot_there_are_heartbeats_and_nothing_else():
    node = leader_without_log()
    node.answer(node.appends("B")[0][0], rejected(last_log=3))
    node.answer_all("C")
    node.answer(node.heartbeats("B")[0])
    node.propose("x")
    node.tick(after=0.2)
    assert spans(node) == []
    assert len(node.heartbeats("B")) == 1


def test_after_a_snapshot_the_log_goes_on():
    node = leader_without_log()
    node.answer(node.appends("B")[0][0], rejected(last_log=3))
    node.answer(snapshots(node)[0])
    assert spans(node) == [(6, 6)]


def test_a_snapshot_that_is_refused_or_fails_is_sent_again_after_a_pause():
    node = leader_without_log()
    node.answer(node.appends("B")[0][0], rejected(last_log=3))
    node.answer(snapshots(node)[0], InstallSnapshotResponse(2, False))
    assert snapshots(node) == []
    node.tick(after=2 * FIRST_RETRY)
    node.fail(snapshots(node)[0])
    node.answer_all("C")
    node.tick(after=4 * FIRST_RETRY)
    assert len(snapshots(node)) == 1


def test_what_is_left_of_the_log_is_tried_before_a_snapshot_is_sent():
    node = leader(settings=Settings(trailing_logs=6))
    node.propose(*range(20))
    node.settle()
    compact(node, 20)
    asked = []
    while not snapshots(node):
        node.propose(len(asked) + 100)
        (send, request), *_ = node.appends("B")
        asked.append(request.prev_index)
        node.answer(send, rejected(last_log=99))
    assert node.core.log.first_index == 17
    assert asked == [22, 21, 19, 17]


def test_a_server_whose_log_ends_before_ours_begins_is_sent_the_snapshot_at_once():
    node = leader(settings=Settings(trailing_logs=6))
    node.propose(*range(20))
    node.settle()
    compact(node, 20)
    node.propose("x")
    node.answer(node.appends("B")[0][0], rejected(last_log=15))
    assert len(snapshots(node)) == 1


def test_one_snapshot_at_a_time_though_answers_to_earlier_messages_come_meanwhile():
    node = leader(settings=Settings(max_in_flight=3, trailing_logs=0))
    for token in range(5):
        node.propose(token)
        node.tick(after=0.03)  # else B would be spared (R21)
    assert len(node.appends("B")) == 3
    node.answer_all("C")
    node.durable()
    compact(node, 6)
    for send, _ in node.appends("B"):
        node.answer(send)
    assert len(snapshots(node)) == 1


# -- the end ---------------------------------------------------------------------------------------------------------


def test_streams_are_closed_when_leadership_ends():
    node = leader()
    node.ask(AppendEntriesRequest(9, peer("B")))
    node = leader()
    node.receive(AppendEntriesRequest(9, peer("B")))
    assert {effect.to.id for effect in node.of(CloseStream)} == {"B", "C"}
