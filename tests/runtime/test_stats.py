"""Formats that other tools read."""

import pytest

from pyraft_lite.runtime import Config
from pyraft_lite.runtime.stats import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0µs"),
        (0.000027, "27µs"),
        (0.027132886, "27.132886ms"),
        (0.5, "500ms"),
        (1, "1s"),
        (3.02492878, "3.024929s"),
        (59.5, "59.5s"),
        (60, "1m0s"),
        (90.25, "1m30.25s"),
        (7200.5, "2h0m0.5s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"local_id": ""}, "local_id is empty"),
        ({"local_address": ""}, "local_address is empty"),
        ({"snapshot_interval": 0.001}, "snapshot_interval is 0.001 s, must be at least 0.005 s"),
        ({"snapshot_interval": float("nan")}, "snapshot_interval is nan s"),
        ({"snapshot_threshold": 0}, "snapshot_threshold is 0, must be at least 1"),
    ],
)
def test_a_configuration_out_of_range_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**{"local_id": "a", "local_address": "h:1", **values})  # type: ignore[arg-type]
