"""R19: followers stand soon after the leader's process is gone."""

from driver import Node, candidate, follower, leader, peer

from pyraft_lite.core import State
from pyraft_lite.core.effects import RoleChanged
from pyraft_lite.core.events import LeaderGone
from pyraft_lite.core.messages import AppendEntriesRequest, RequestPreVoteRequest


def following() -> Node:
    node = follower()
    node.ask(AppendEntriesRequest(1, peer("B")))
    return node


def test_a_follower_stands_after_a_small_part_of_the_election_timeout():
    node = following()
    node.step(LeaderGone("b:1"))
    assert node.of(RoleChanged) == [RoleChanged(State.FOLLOWER, 1, "", "")]
    assert node.now < node.core.deadline() <= node.now + 0.1
    node.tick_at_deadline()
    assert node.core.state is State.CANDIDATE
    assert len(node.sent(RequestPreVoteRequest)) == 2


def test_it_votes_for_others_at_once():
    node = following()
    request = RequestPreVoteRequest(2, peer("C"), 1, 1)
    assert not node.ask(request).granted
    node.step(LeaderGone("b:1"))
    assert node.ask(request).granted


def test_a_timeout_that_comes_sooner_stays():
    node = following()
    before = node.core.deadline()
    node.now = before - 0.001
    node.step(LeaderGone("b:1"))
    assert node.core.deadline() == before


def test_it_waits_again_when_the_leader_is_heard_from_after_all():
    node = following()
    node.step(LeaderGone("b:1"))
    node.ask(AppendEntriesRequest(1, peer("B")))
    assert node.core.deadline() == node.now + 1.5
    assert node.core.leader == peer("B")


def test_another_node_that_is_gone_changes_nothing():
    node = following()
    assert node.step(LeaderGone("c:1")) == []
    assert node.core.leader == peer("B")


def test_only_followers_with_a_leader_care():
    for node in (follower(), candidate(), leader()):
        assert node.step(LeaderGone("b:1")) == []
        assert node.step(LeaderGone("a:1")) == []
