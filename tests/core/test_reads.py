"""R16: linearizable reads."""

import pytest
from driver import Node, candidate, follower, leader, new_leader, peer

from pyraft_lite.core import Settings, State
from pyraft_lite.core.effects import Apply, ReadReady
from pyraft_lite.core.errors import LeadershipLostError, NotLeaderError
from pyraft_lite.core.events import ReadIndex
from pyraft_lite.core.messages import AppendEntriesRequest

LEASE = Settings(lease_reads=True, clock_drift=0.1)


def read(node: Node, token: str = "read", *, lease: bool = False) -> None:
    node.step(ReadIndex(token, lease))


def test_a_read_is_ready_at_the_commit_index_when_a_quorum_has_confirmed_leadership():
    node = leader()
    read(node)
    assert node.outcomes == {}
    node.answer(node.heartbeats("B")[0])
    assert node.outcomes == {"read": ReadReady("read", 2)}


def test_in_a_cluster_of_five_two_must_confirm():
    node = leader("ABCDE")
    read(node)
    node.answer(node.heartbeats("B")[0])
    assert node.outcomes == {}
    node.answer(node.heartbeats("C")[0])
    assert "read" in node.outcomes


def test_nonvoters_confirm_nothing():
    node = leader("ABC", nonvoters="D")
    read(node)
    node.answer(node.heartbeats("D")[0])
    assert node.outcomes == {}


def test_an_only_voter_reads_at_once():
    node = leader("A", nonvoters="B")
    read(node)
    assert node.outcomes == {"read": ReadReady("read", 2)}


def test_an_answer_to_what_was_sent_before_the_read_confirms_nothing():
    node = leader()
    node.tick(after=0.2)
    earlier = [node.heartbeats(to)[0] for to in "BC"]
    read(node)
    for send in earlier:
        node.answer(send)
    assert node.outcomes == {}
    node.answer(node.heartbeats("B")[0])
    assert "read" in node.outcomes


def test_an_answered_append_confirms_as_a_heartbeat_does():
    node = leader()
    node.tick(after=0.2)
    read(node)
    node.propose("x")
    node.answer(node.appends("B")[0][0])
    assert node.outcomes["read"] == ReadReady("read", 2)


def test_reads_that_come_while_a_round_is_under_way_share_the_next():
    node = leader()
    read(node, "first")
    for token in ("second", "third"):
        read(node, token)
    assert len(node.heartbeats("B")) == 1
    node.answer(node.heartbeats("B")[0])
    assert set(node.outcomes) == {"first"}
    assert len(node.heartbeats("B")) == 1
    node.answer(node.heartbeats("B")[0])
    assert set(node.outcomes) == {"first", "second", "third"}


def test_a_round_that_fails_is_repeated():
    node = leader()
    read(node)
    for to in "BC":
        node.fail(node.heartbeats(to)[0])
    assert node.outcomes == {}
    node.tick_at_deadline()
    node.answer(node.heartbeats("C")[0])
    assert "read" in node.outcomes


@pytest.mark.parametrize("lease", [False, True])
def test_before_the_no_op_is_committed_a_read_waits_for_it(lease):
    node = new_leader(settings=LEASE)
    read(node, lease=lease)
    node.answer_all("B")
    if not lease:
        read(node, "late")
    assert node.outcomes["read"] == ReadReady("read", 2), "an earlier leader may have acknowledged up to there"
    assert Apply(2) not in node.effects


def test_reads_fail_when_leadership_is_lost():
    node = leader()
    read(node)
    node.receive(AppendEntriesRequest(9, peer("B")))
    assert isinstance(node.outcomes["read"].error, LeadershipLostError)


@pytest.mark.parametrize("make", [follower, candidate])
@pytest.mark.parametrize("lease", [False, True])
def test_who_does_not_lead_reads_nothing(make, lease):
    node = make()
    read(node, lease=lease)
    assert isinstance(node.outcomes["read"].error, NotLeaderError)


# -- on the strength of the lease ------------------------------------------------------------------------------------


def test_with_the_lease_a_read_is_ready_at_once():
    node = leader(settings=LEASE)
    read(node, lease=True)
    assert node.outcomes == {"read": ReadReady("read", 2)}
    assert node.unanswered == {}


def test_votes_give_no_lease():
    """Who voted for us, and has not heard from us, may vote for the next."""
    node = new_leader(settings=LEASE)
    read(node, lease=True)
    assert node.outcomes == {}


def test_the_lease_is_shorter_by_what_clocks_may_drift():
    node = leader(settings=LEASE)
    node.now += 0.44
    read(node, "within", lease=True)
    node.now += 0.02
    read(node, "after", lease=True)
    assert set(node.outcomes) == {"within"}
    assert node.core.state is State.LEADER


def test_after_the_lease_a_read_asks_the_others():
    node = leader(settings=LEASE)
    node.now += 0.46
    read(node, lease=True)
    node.answer(node.heartbeats("B")[0])
    assert "read" in node.outcomes


def test_without_the_setting_the_lease_is_not_trusted():
    node = leader()
    read(node, lease=True)
    assert node.outcomes == {}


def test_with_the_setting_a_read_that_does_not_ask_for_it_is_confirmed():
    node = leader(settings=LEASE)
    read(node)
    assert node.outcomes == {}


def test_an_only_voters_lease_never_ends():
    node = leader("A", settings=LEASE)
    node.now += 100
    read(node, lease=True)
    assert "read" in node.outcomes
