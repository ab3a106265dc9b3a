"""What clients may be told to connect to."""

import socket
from typing import Any

import pytest

from pyraft_lite.rpc.targets import grpc_target, grpc_targets, parse_target

NAMES = {
    "four": [(socket.AF_INET, "192.0.2.4")],
    "six": [(socket.AF_INET6, "2001:db8::6")],
    "both": [(socket.AF_INET6, "2001:db8::7"), (socket.AF_INET, "192.0.2.7")],
    "twice": [(socket.AF_INET, "192.0.2.4"), (socket.AF_INET, "192.0.2.4")],
}


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Knows the hosts of NAMES, and takes overlong ones for what the real thing does."""

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if len(host) > 63:
            raise UnicodeError("label too long")
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("target", "addresses"),
    [
        ("localhost:50051", ["localhost:50051"]),
        ("127.0.0.1:1", ["127.0.0.1:1"]),
        ("[::1]:65535", ["[::1]:65535"]),
        ("[fe80::1%eth0]:1", ["[fe80::1%eth0]:1"]),
        ("dns:///node-1.raft.example.:50051", ["node-1.raft.example.:50051"]),
        ("multi:///a:1", ["a:1"]),
        ("multi:///a:1,[::1]:2,c_d:3", ["a:1", "[::1]:2", "c_d:3"]),
    ],
)
def test_the_addresses_of_a_target(target: str, addresses: list[str]) -> None:
    assert parse_target(target) == addresses


BAD = [
    "",
    "localhost",
    ":50051",
    "localhost:",
    "localhost:0",
    "localhost:65536",
    "localhost:http",
    "::1:50051",
    "local host:50051",
    " localhost:50051",
    "localhost:50051 ",
    "localhost:50051,localhost:50052",
    "localhost,localhost:50052",
    "\udcff:50051",
    "foo:///localhost:50051",
    "http://localhost:50051",
    "ipv4:127.0.0.1:50051",
    "unix:///socket",
    "dns://server/localhost:50051",
    "dns:///",
    "dns:///a:1,b:2",
    "dns:///a,b:2",
    "multi:///",
    "multi://localhost:50051",
    "multi:///a:1,",
    "multi:///a:1, b:2",
    "multi:///a:1,b",
    "multi:///a:1;b:2",
]


@pytest.mark.parametrize("target", BAD)
@pytest.mark.parametrize("read", [parse_target, grpc_target, grpc_targets])
def test_a_bad_target_is_refused_with_its_name_and_what_would_be_right(read: Any, target: str) -> None:
    with pytest.raises(ValueError, match="want host:port") as refused:
        read(target)
    assert repr(target) in str(refused.value)


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("unknown:1", "dns:///unknown:1"),
        ("dns:///unknown:1", "dns:///unknown:1"),
        ("multi:///unknown:1", "dns:///unknown:1"),
        ("multi:///four:1,four:2", "ipv4:192.0.2.4:1,192.0.2.4:2"),
        ("multi:///six:1,six:2", "ipv6:[2001:db8::6]:1,[2001:db8::6]:2"),
        ("multi:///four:1,six:2", "ipv6:[::ffff:192.0.2.4]:1,[2001:db8::6]:2"),
        ("multi:///both:1,four:2", "ipv6:[2001:db8::7]:1,[::ffff:192.0.2.7]:1,[::ffff:192.0.2.4]:2"),
        ("multi:///twice:1,four:1,four:2", "ipv4:192.0.2.4:1,192.0.2.4:2"),
        ("multi:///unknown:1,four:2," + "x" * 64 + ":3", "ipv4:192.0.2.4:2"),
    ],
)
def test_grpc_gets_a_name_or_all_ip_addresses_of_several(target: str, expected: str) -> None:
    assert grpc_target(target) == expected


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("four:1", ["ipv4:192.0.2.4:1"]),
        ("both:1", ["ipv6:[2001:db8::7]:1", "ipv4:192.0.2.7:1"]),
        ("multi:///unknown:1,four:2,both:3", ["ipv4:192.0.2.4:2", "ipv6:[2001:db8::7]:3", "ipv4:192.0.2.7:3"]),
    ],
)
def test_every_ip_address_is_a_target_of_its_own(target: str, expected: list[str]) -> None:
    assert grpc_targets(target) == expected


@pytest.mark.usefixtures("names")
def test_a_target_of_unknown_names_only_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^cannot resolve unknown:1 or nobody:2$"):
        grpc_target("multi:///unknown:1,nobody:2")
    with pytest.raises(ValueError, match=r"^cannot resolve unknown:1$"):
        grpc_targets("unknown:1")
