"""Addresses."""

import pytest

from pyraft_lite.rpc.address import split_address


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("localhost:50051", ("localhost", 50051)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:50051", ("::1", 50051)),
        (":50051", ("", 50051)),
        ("host:0", ("host", 0)),
        ("host:65535", ("host", 65535)),
    ],
)
def test_an_address_is_split_into_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address", ["", "host", "host:", "host:x", "host:-1", "host:65536", "::1:1", "host:²", "a:b:1"]
)
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(ValueError, match="want host:port") as failure:
        split_address(address)
    assert repr(address) in str(failure.value)
