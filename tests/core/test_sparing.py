"""Whom a leader sends new entries to at once, and who gets them in batches (R21)."""

import pytest
from driver import Node, leader

from pyraft_lite.core import Settings
from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.events import ChangeMembership, Token, TransferLeadership
from pyraft_lite.core.replication import PATIENCE, SPARED, SPARED_ENTRIES

COMMIT_TIMEOUT = Settings().commit_timeout
SPARED_FOR = COMMIT_TIMEOUT * SPARED
PATIENT_FOR = COMMIT_TIMEOUT * PATIENCE


def busy_leader(voters: str = "ABC", nonvoters: str = "", **more: object) -> Node:
    """A leader that has just sent everybody a first entry; the others answered in the order of the alphabet."""
    node = leader(voters, nonvoters, **more)
    node.tick(after=SPARED_FOR)
    node.propose("first")
    node.settle()
    return node


def lengths(node: Node, to: str) -> list[int]:
    """How many entries each unanswered append has; without those that only tell of a commit."""
    return [len(request.entries) for _, request in node.appends(to) if request.entries]


def write(node: Node, *tokens: Token, answers: str = "B") -> None:
    """Proposes, and has it committed by ourselves and who answers."""
    node.propose(*tokens)
    node.durable()
    node.answer_all(*answers)


def test_with_few_writes_everybody_gets_them_at_once():
    node = leader()
    for token in range(5):
        node.tick(after=SPARED_FOR)
        node.propose(token)
        assert lengths(node, "B") == lengths(node, "C") == [1]
        node.settle()


def test_with_many_a_quorum_gets_them_at_once_and_the_others_in_batches():
    node = busy_leader()
    for token in "xyz":
        node.propose(token)
        assert lengths(node, "B") == [1]
        assert not node.appends("C")
        node.durable()
        node.answer_all("B")
        assert token in node.outcomes
    began = node.now
    while not lengths(node, "C"):
        node.tick_at_deadline()
    assert lengths(node, "C") == [3]
    assert SPARED_FOR <= node.now - began <= SPARED_FOR + PATIENT_FOR


@pytest.mark.parametrize(("voters", "relied_on"), [("ABCD", "BC"), ("ABCDE", "BC"), ("ABCDEFG", "BCD")])
def test_as_many_are_relied_on_as_make_a_quorum_with_us(voters, relied_on):
    node = busy_leader(voters)
    node.propose("x")
    assert [other for other in voters[1:] if node.appends(other)] == list(relied_on)


def test_a_quorum_of_two_needs_the_other():
    node = busy_leader("AB")
    write(node, "x")
    write(node, "y")
    assert node.core.commit_index == node.core.log.last_index


def test_nonvoters_are_relied_on_for_nothing():
    node = busy_leader("AB", nonvoters="CD")
    node.propose("x")
    assert node.appends("B")
    assert not node.appends("C")
    node.tick(after=SPARED_FOR)
    assert lengths(node, "C") == lengths(node, "D") == [1]


def test_who_answers_first_is_relied_on():
    node = leader()
    node.tick(after=SPARED_FOR)
    write(node, "x", answers="C")
    node.propose("y")
    assert lengths(node, "B") == [1], "x alone, as it has not answered"
    assert lengths(node, "C") == [1]
    node.durable()
    node.answer_all("C")
    assert node.core.commit_index == node.core.log.last_index


@pytest.mark.parametrize("quick", ["B", "C"])
def test_among_equals_it_is_who_answered_quickest(quick):
    slow = "C" if quick == "B" else "B"
    node = leader()
    node.tick(after=SPARED_FOR)
    node.propose("x")
    node.durable()
    for other in (quick, slow):
        node.tick(after=0.001)
        node.answer_all(other)
    node.propose("y")
    assert lengths(node, quick) == [1]
    assert not lengths(node, slow)


def test_who_proves_to_be_quicker_is_relied_on_from_then_on():
    node = busy_leader()
    for token in range(SPARED_ENTRIES):
        assert not node.appends("C")
        node.propose(token)
        node.durable()
        node.now += PATIENT_FOR / 10
        node.answer_all("B" if token < SPARED_ENTRIES - 1 else "C")
        node.now += PATIENT_FOR / 10
        node.answer_all("B")
    node.propose("x")
    assert lengths(node, "C") == [1]
    assert not lengths(node, "B")


def test_who_is_removed_is_relied_on_no_more():
    node = busy_leader()
    write(node, "x")
    assert not node.appends("C")
    node.step(ChangeMembership("change", Change(ChangeCommand.REMOVE_SERVER, "B", "")))
    assert lengths(node, "C") == [2], "x and the change, which needs it"


def test_when_one_of_the_quorum_keeps_us_waiting_others_get_what_they_lack():
    node = busy_leader()
    node.propose("x")
    node.durable()
    assert not node.appends("C")
    node.tick_at_deadline()
    assert lengths(node, "C") == [1]
    node.answer_all("C")
    assert node.core.commit_index == node.core.log.last_index
    node.propose("y")
    assert lengths(node, "C") == [1], "now it is relied on"


def test_when_one_of_the_quorum_fails_others_are_relied_on_at_once():
    node = busy_leader()
    node.propose("x")
    node.fail(node.appends("B")[0][0])
    assert lengths(node, "C") == [1]
    node.propose("y")
    assert lengths(node, "C") == [1, 1]


def test_when_our_own_disk_keeps_us_waiting_the_others_make_the_quorum():
    node = busy_leader()
    node.propose("x")
    node.answer_all("B")
    assert "x" not in node.outcomes
    node.tick(after=PATIENT_FOR)
    node.answer_all("C")
    assert "x" in node.outcomes
    node.propose("y")
    assert lengths(node, "B") == lengths(node, "C") == [1]


def test_who_lacks_some_is_not_spared():
    node = busy_leader()
    for token in range(SPARED_ENTRIES - 1):
        write(node, token)
    assert not node.appends("C")
    write(node, "last")
    assert lengths(node, "C") == [SPARED_ENTRIES]


def test_who_is_found_to_match_gets_the_rest_at_once():
    node = leader()
    node.tick(after=SPARED_FOR)
    node.propose("x")
    node.fail(node.appends("C")[0][0])
    node.tick(after=COMMIT_TIMEOUT)
    (probe,) = node.appends("C")
    write(node, "y")
    node.answer(probe[0])
    assert lengths(node, "C") == [1], "y, though x came a moment ago"


def test_the_heir_of_a_transfer_is_brought_up_to_date_at_once():
    node = busy_leader()
    write(node, "x")
    node.step(TransferLeadership("transfer", "C", ""))
    assert lengths(node, "C") == [1]


def test_a_server_that_becomes_a_voter_is_caught_up_at_once():
    node = busy_leader("AB", nonvoters="C")
    write(node, "x")
    node.step(ChangeMembership("change", Change(ChangeCommand.ADD_VOTER, "C", "c:1")))
    node.answer_all("C")
    assert node.core.configurations.latest.is_voter("C")


def test_nothing_is_due_for_those_who_lack_nothing():
    node = busy_leader()
    write(node, "x")
    node.tick(after=SPARED_FOR)
    node.settle()
    assert node.core.deadline() - node.now > PATIENT_FOR
