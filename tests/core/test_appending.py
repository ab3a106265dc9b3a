"""R5, R6, R7: how a node takes in what a leader sends."""

import pytest
from driver import Node, candidate, commands, configuration_entry, follower, leader, members, peer, snapshot_of

from pyraft_lite.core import HardState, State
from pyraft_lite.core.effects import Apply, Refuse, RoleChanged, Stopped
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.events import Fatal
from pyraft_lite.core.messages import AppendEntriesRequest, AppendEntriesResponse, RequestPreVoteRequest


def append(prev_index, prev_term, *entries, term=8, commit=0, who="B") -> AppendEntriesRequest:
    return AppendEntriesRequest(term, peer(who), prev_index, prev_term, tuple(entries), commit)


# -- the log ---------------------------------------------------------------------------------------------------------

FIGURE_3_6 = {
    "a: misses an entry": ([1, 1, 1, 4, 4, 5, 5, 6, 6], False),
    "b: misses several": ([1, 1, 1, 4], False),
    "c: has one more of the same term": ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6], True),
    "d: has more of a later term": ([1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7], True),
    "e: has other entries of an old term": ([1, 1, 1, 4, 4, 4, 4], False),
    "f: has other entries of several terms": ([1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], False),
}
LEADERS_LOG = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize("case", FIGURE_3_6)
def test_followers_of_dissertation_figure_3_6_come_to_the_leaders_log(case):
    terms, accepts_at_once = FIGURE_3_6[case]
    node = follower(terms=terms[1:], term=7)
    new = Entry(11, 8, EntryType.COMMAND, b"new")
    prev = 10
    response = node.ask(append(prev, 6, new))
    assert response.success is accepts_at_once
    while not response.success:
        assert response == AppendEntriesResponse(8, node.core.log.last_index, False, no_retry_backoff=True)
        prev -= 1
        old = commands(prev + 1, *LEADERS_LOG[prev:])
        response = node.ask(append(prev, LEADERS_LOG[prev - 1], *old, new))
    assert node.terms() == [*LEADERS_LOG, 8]
    assert [node.store.term(index) for index in range(1, node.store.last_index() + 1)] == [*LEADERS_LOG, 8]


def test_entries_are_appended_and_success_leaves_when_they_are_durable():
    node = follower()
    entries = commands(2, 8, 8)
    rpc = node.receive(append(1, 1, *entries))
    assert rpc not in node.answers
    assert [(write.hard_state, write.truncate_from, write.entries) for write in node.unwritten] == [
        (HardState(8), None, entries)
    ]
    node.durable()
    assert node.answers[rpc].response == AppendEntriesResponse(8, 3, True)


def test_a_response_waits_for_its_own_write_only():
    node = follower()
    first = node.receive(append(1, 1, *commands(2, 8)))
    second = node.receive(append(2, 8, *commands(3, 8)))
    node.durable(1)
    assert first in node.answers
    assert second not in node.answers


def test_a_conflict_cuts_from_the_conflicting_entry_on():
    node = follower(terms=[2, 2, 3, 3])
    new = commands(4, 5)
    node.receive(append(2, 2, *commands(3, 2), *new))
    (write,) = node.unwritten
    assert (write.truncate_from, write.entries) == (4, new)
    assert node.terms() == [1, 2, 2, 5]


def test_a_late_duplicate_never_truncates():
    node = follower(terms=[8, 8, 8, 8])
    assert node.ask(append(1, 1, *commands(2, 8, 8))) == AppendEntriesResponse(8, 5, True)
    assert node.ask(append(1, 1, commit=1)) == AppendEntriesResponse(8, 5, True)
    assert node.terms() == [1, 8, 8, 8, 8]
    assert node.unwritten == []


def test_what_is_new_behind_a_duplicate_is_appended():
    node = follower(terms=[8, 8])
    node.ask(append(1, 1, *commands(2, 8, 8, 8)))
    assert node.terms() == [1, 8, 8, 8]


def test_a_duplicate_of_entries_that_are_compacted_is_accepted():
    node = Node(snapshot=snapshot_of(5, 3, members("ABC")), log=commands(6, 3), term=3)
    assert node.ask(append(2, 2, *commands(3, 2, 3, 3, 3, 3), term=3)).success
    assert node.terms() == [3, 3]


def test_two_conflicts_before_anything_is_durable_leave_the_last_ones_log():
    node = follower(terms=[2, 2, 2])
    node.receive(append(2, 2, *commands(3, 5, 5), term=5))
    node.receive(append(3, 5, *commands(4, 6), term=6, who="C"))
    node.durable()
    assert [node.store.log[index].term for index in sorted(node.store.log)] == [1, 2, 5, 6]
    assert node.terms() == [1, 2, 5, 6]


def test_a_conflict_rolls_the_configuration_back():
    node = follower("ABC")
    node.ask(append(1, 1, configuration_entry(2, 2, members("ABCD")), *commands(3, 2), term=2))
    assert node.core.configurations.latest == members("ABCD"), "R10: in force when appended"
    node.ask(append(1, 1, *commands(2, 3), term=3, who="C"))
    assert node.core.configurations.latest == members("ABC")
    assert node.core.configurations.latest_index == 1


# -- the commit index ------------------------------------------------------------------------------------------------


def test_entries_are_committed_up_to_the_leaders_commit_index():
    node = follower()
    node.receive(append(1, 1, *commands(2, 8, 8, 8), commit=3))
    assert node.of(Apply) == [Apply(3)]


def test_no_more_is_committed_than_this_request_has_verified():
    node = follower(terms=[2, 2, 2])
    node.receive(append(1, 1, *commands(2, 2), term=3, commit=9))
    assert node.core.commit_index == 2, "entries 3 and 4 may differ from the leader's"


def test_a_lower_commit_index_changes_nothing():
    node = follower(terms=[2, 2, 2])
    node.receive(append(4, 2, commit=4))
    node.receive(append(4, 2, commit=3))
    assert node.core.commit_index == 4
    assert node.of(Apply) == []


def test_a_rejected_request_commits_nothing():
    node = follower(terms=[2, 2])
    assert not node.ask(append(3, 5, commit=3)).success
    assert node.core.commit_index == 0


# -- leadership ------------------------------------------------------------------------------------------------------


def test_a_heartbeat_proves_leadership_and_says_nothing_of_the_log():
    node = follower(terms=[2, 2])
    node.tick(after=1)
    deadline = node.core.deadline()
    assert node.ask(append(0, 0)) == AppendEntriesResponse(8, 3, True)
    assert node.core.leader == peer("B")
    assert node.core.deadline() == deadline + 1
    assert (node.core.commit_index, node.terms()) == (0, [1, 2, 2])


def test_a_heartbeat_does_not_wait_for_entries_being_written():
    node = follower(term=8)
    entries = node.receive(append(1, 1, *commands(2, 8)))
    heartbeat = node.receive(append(0, 0))
    assert entries not in node.answers
    assert node.answers[heartbeat].response == AppendEntriesResponse(8, 2, True)


def test_a_heartbeat_of_a_new_term_waits_for_that_to_be_durable():
    node = follower()
    rpc = node.receive(append(0, 0))
    assert rpc not in node.answers
    node.durable()
    assert rpc in node.answers


def test_an_old_leader_learns_of_the_newer_term():
    node = follower(term=9)
    deadline = node.core.deadline()
    assert node.ask(append(1, 1, *commands(2, 8))) == AppendEntriesResponse(9, 1, False)
    assert (node.core.leader, node.core.deadline()) == (None, deadline)


def test_a_new_leader_is_announced_once():
    node = follower()
    node.receive(append(0, 0))
    assert node.of(RoleChanged) == [RoleChanged(State.FOLLOWER, 8, "B", "b:1")]
    node.receive(append(0, 0))
    assert node.of(RoleChanged) == []


def test_a_leader_follows_one_of_a_newer_term():
    node = leader()
    node.ask(append(0, 0, term=9))
    assert (node.core.state, node.core.leader, node.core.term) == (State.FOLLOWER, peer("B"), 9)


def test_a_pre_candidate_follows_the_leader_of_its_term_though_it_rejects_the_entries():
    node = candidate()
    assert not node.ask(append(5, 1, *commands(6, 1), term=1)).success
    assert (node.core.state, node.core.leader) == (State.FOLLOWER, peer("B"))
    for send, _ in node.sent(RequestPreVoteRequest):
        node.answer(send)
    assert node.core.state is State.FOLLOWER


# -- what no correct leader sends ------------------------------------------------------------------------------------

BAD = {
    "a gap after prev": (append(4, 3, *commands(6, 3)), "entry 6 where 5 should be"),
    "entries out of order": (
        append(4, 3, *commands(5, 3), *commands(5, 3)),
        "entry 5 where 6 should be",
    ),
    "terms that fall": (append(4, 3, *commands(5, 4, 3)), "entry 6 of term 3 after one of term 4"),
    "an entry older than prev": (append(4, 3, *commands(5, 2)), "entry 5 of term 2 after one of term 3"),
    "an entry newer than the request": (append(4, 3, *commands(5, 9)), "of term 9 after one of term 3 in a request of"),
    "an unreadable configuration": (
        append(4, 3, Entry(5, 8, EntryType.CONFIGURATION, b"\xc1")),
        "entry 5 holds no readable configuration",
    ),
    "another committed entry": (
        append(2, 3, *commands(3, 7)),
        "entry 3 of term 7 contradicts the committed one of term 3",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_nothing_changes_by_a_request_no_correct_leader_sends(case):
    request, error = BAD[case]
    node = follower(terms=[3, 3, 3])
    node.ask(append(4, 3, term=3, commit=4, who="C"))
    deadline = node.core.deadline()
    node.now += 0.1
    assert error in node.refusal(request)
    assert (node.core.term, node.core.leader, node.core.deadline()) == (3, peer("C"), deadline)
    assert (node.terms(), node.unwritten, node.stopped) == ([1, 3, 3, 3], [], False)


def test_a_leader_refuses_another_leader_of_its_term():
    node = leader()
    assert "claims to lead term 2, which we lead" in node.refusal(append(0, 0, term=2))
    assert node.core.state is State.LEADER


def test_a_request_is_refused_when_the_node_stops_before_it_is_durable():
    node = follower()
    rpc = node.receive(append(1, 1, *commands(2, 8)))
    node.step(Fatal("disk on fire"))
    assert isinstance(node.answers[rpc], Refuse)
    assert node.effects[-1] == Stopped("disk on fire")
