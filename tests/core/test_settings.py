"""Which settings are possible."""

import pytest

from pyraft_lite.core import Settings


def test_the_defaults_are_hashicorps():
    settings = Settings()
    assert (settings.heartbeat_timeout, settings.election_timeout) == (1.0, 1.0)
    assert (settings.leader_lease_timeout, settings.commit_timeout) == (0.5, 0.05)
    assert (settings.trailing_logs, settings.shutdown_on_remove, settings.lease_reads) == (10240, True, False)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"heartbeat_timeout": 0.004, "leader_lease_timeout": 0.005}, "heartbeat_timeout is 0.004 s, must be at least"),
        ({"election_timeout": 0.0}, "election_timeout is 0 s, must be at least 0.005 s"),
        ({"leader_lease_timeout": -1}, "leader_lease_timeout is -1 s, must be at least 0.005 s"),
        ({"commit_timeout": 0}, "commit_timeout is 0 s, must be at least 0.001 s"),
        ({"heartbeat_timeout": float("nan")}, "heartbeat_timeout is nan s, must be at least 0.005 s"),
        ({"leader_lease_timeout": 1.5}, r"leader_lease_timeout \(1.5 s\) must not be larger than heartbeat_timeout"),
        ({"election_timeout": 0.9}, r"election_timeout \(0.9 s\) must not be smaller than heartbeat_timeout \(1 s\)"),
        ({"max_append_entries": 0}, "max_append_entries is 0, must be 1 to 1024"),
        ({"max_append_entries": 1025}, "max_append_entries is 1025, must be 1 to 1024"),
        ({"max_in_flight": 0}, "max_in_flight is 0, must be at least 1"),
        ({"trailing_logs": -1}, "trailing_logs is -1, must not be negative"),
        ({"clock_drift": 1}, "clock_drift is 1, must be at least 0 and less than 1"),
        ({"clock_drift": -0.1}, "clock_drift is -0.1, must be at least 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_its_name_and_range(given, error):
    with pytest.raises(ValueError, match=error):
        Settings(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"max_append_entries": 1},
        {"max_append_entries": 1024},
        {"trailing_logs": 0},
        {"clock_drift": 0},
        {"leader_lease_timeout": 1.0},
        {"heartbeat_timeout": 0.005, "election_timeout": 0.005, "leader_lease_timeout": 0.005, "commit_timeout": 0.001},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(given):
    Settings(**given)
