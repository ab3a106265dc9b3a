"""R10: how one configuration leads to the next, and what a configuration must be."""

import pytest
from driver import members, server

from pyraft_lite.core.configuration import Change, ChangeCommand, Configuration, Server, Suffrage, next_configuration
from pyraft_lite.core.errors import ConfigurationError

ADD_VOTER, ADD_NONVOTER = ChangeCommand.ADD_VOTER, ChangeCommand.ADD_NONVOTER
DEMOTE, REMOVE = ChangeCommand.DEMOTE_VOTER, ChangeCommand.REMOVE_SERVER

VOTER, NONVOTER, STAGING = (
    Server("B", "b:1"),
    Server("B", "b:1", Suffrage.NONVOTER),
    Server("B", "b:1", Suffrage.STAGING),
)


def at(address: str, suffrage: Suffrage = Suffrage.VOTER) -> Server:
    return Server("B", address, suffrage)


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [
        (ADD_VOTER, None, at("new:1")),
        (ADD_VOTER, VOTER, at("new:1")),
        (ADD_VOTER, NONVOTER, at("new:1")),
        (ADD_VOTER, STAGING, at("new:1")),
        (ADD_NONVOTER, None, at("new:1", Suffrage.NONVOTER)),
        (ADD_NONVOTER, VOTER, at("new:1")),
        (ADD_NONVOTER, NONVOTER, at("new:1", Suffrage.NONVOTER)),
        (ADD_NONVOTER, STAGING, at("new:1", Suffrage.NONVOTER)),
        (DEMOTE, None, None),
        (DEMOTE, VOTER, NONVOTER),
        (DEMOTE, NONVOTER, NONVOTER),
        (DEMOTE, STAGING, NONVOTER),
        (REMOVE, None, None),
        (REMOVE, VOTER, None),
        (REMOVE, NONVOTER, None),
        (REMOVE, STAGING, None),
    ],
)
def test_what_a_change_makes_of_server_b(command, before, after):
    """R10. The address of a change counts only where the server is added."""
    current = Configuration((server("A"), *([before] if before else []), server("C")))
    result = next_configuration(current, Change(command, "B", "new:1"))
    assert result.get("B") == after
    assert [one for one in result if one.id != "B"] == [server("A"), server("C")]


def test_who_is_added_comes_last_and_who_changes_stays_in_place():
    assert next_configuration(members("ABC"), Change(ADD_VOTER, "D", "d:1")) == members("ABCD")
    moved = next_configuration(members("ABC"), Change(ADD_VOTER, "B", "new:1"))
    assert [one.id for one in moved] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("servers", "error"),
    [
        ((), "need at least one voter in configuration: {[]}"),
        ((server("A", Suffrage.NONVOTER),), "need at least one voter in configuration: {[{Nonvoter A a:1}]}"),
        ((server("A", Suffrage.STAGING),), "need at least one voter in configuration: {[{Staging A a:1}]}"),
        ((Server("", "a:1"),), "empty ID in configuration: {[{Voter  a:1}]}"),
        ((Server("A", ""),), "empty address in configuration: {Voter A }"),
        ((Server("A", "a:1"), Server("A", "b:1")), "found duplicate ID in configuration: A"),
        ((Server("A", "a:1"), Server("B", "a:1")), "found duplicate address in configuration: a:1"),
    ],
)
def test_what_is_no_configuration_of_a_cluster(servers, error):
    with pytest.raises(ConfigurationError) as caught:
        Configuration(servers).check()
    assert str(caught.value) == error


def test_a_configuration_is_shown_as_the_original_shows_it():
    configuration = members("A", "B")
    assert str(configuration) == "{[{Voter A a:1} {Nonvoter B b:1}]}"
    assert configuration.describe() == "[{Suffrage:Voter ID:A Address:a:1} {Suffrage:Nonvoter ID:B Address:b:1}]"


def test_servers_are_found_by_id_and_by_address():
    configuration = members("A", "B")
    assert (configuration.get("B"), configuration.at_address("b:1")) == (server("B", Suffrage.NONVOTER),) * 2
    assert (configuration.get("X"), configuration.at_address("x:1")) == (None, None)
    assert [configuration.is_voter(one) for one in "ABX"] == [True, False, False]
    assert configuration.voters == (server("A"),)
