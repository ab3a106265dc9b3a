"""How rough a simulation is. All times are in seconds."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pyraft_lite.core import Settings
from pyraft_lite.sim.faults import Kind

EVERYTHING: Mapping[Kind, float] = {
    Kind.CRASH: 15,
    Kind.RESTART: 10,
    Kind.BLACKOUT: 5,
    Kind.PARTITION: 12,
    Kind.PARTIAL_PARTITION: 6,
    Kind.ONE_WAY_LINK: 4,
    Kind.SLOW_LINK: 4,
    Kind.ISOLATE_OUT: 3,
    Kind.ISOLATE_IN: 3,
    Kind.FLAP: 4,
    Kind.LOSS: 4,
    Kind.DUPLICATION: 3,
    Kind.DELAY: 4,
    Kind.BREAK_STREAMS: 5,
    Kind.SLOW_DISK: 6,
    Kind.STALLED_DISK: 4,
    Kind.FAILED_WRITE: 4,
    Kind.SLOW_MACHINE: 4,
    Kind.PAUSE: 6,
    Kind.SNAPSHOT: 10,
    Kind.BURST: 3,
}
"""Some of everything."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a run goes through.

    Attributes:
        voters: How many nodes the cluster begins with.
        spares: How many nodes wait outside of it, to be added.
        settings: Of every node.
        duration: How long faults go on; after that there are none, and everything must settle.
        settle: How long clients are served after that; for the last seconds of it they ask for nothing.
        loss, duplication: The probability that a message gets lost, or comes twice.
        delay: The mean delay of a message.
        ordered_streams: Whether the requests of one append stream arrive in order, as over gRPC; if not, the transport
            mixes them up.
        faults: How many faults per second.
        kinds: The faults' relative frequencies.
        fault_lasts: The mean duration of a fault.
        requests: How many requests of clients per second.
        transfers, changes, snapshots: How many of these operators ask for per second.
        fewest_voters: No change takes a vote away below that.
        clock_drift: By which part a node's clock may run faster or slower.
    """

    voters: int
    spares: int
    settings: Settings
    duration: float = 30.0
    settle: float = 10.0
    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.002
    ordered_streams: bool = True
    faults: float = 1.5
    kinds: Mapping[Kind, float] = field(default_factory=lambda: EVERYTHING)
    fault_lasts: float = 1.5
    requests: float = 25.0
    transfers: float = 0.6
    changes: float = 1.5
    snapshots: float = 0.9
    fewest_voters: int = 2
    clock_drift: float = 0.05


def mixed(random: random.Random) -> Profile:
    """Any mixture of everything."""
    choice = random.choice
    timeout = choice([0.3, 1.0, 1.0])
    settings = Settings(
        heartbeat_timeout=timeout,
        election_timeout=timeout,
        leader_lease_timeout=timeout * choice([0.2, 0.5, 1.0]),
        trailing_logs=choice([0, 1, 5, 50]),
        max_in_flight=choice([1, 2, 4]),
        max_append_entries=choice([1, 2, 64]),
        lease_reads=True,
        clock_drift=0.2,
    )
    return Profile(
        voters=choice([1, 2, 3, 3, 3, 4, 5, 5, 7]),
        spares=2,
        settings=settings,
        loss=choice([0.0, 0.01, 0.1]),
        duplication=choice([0.0, 0.05]),
        delay=choice([0.002, 0.01, 0.03]),
    )


def _only(kinds: Mapping[Kind, float], **changes: object) -> Callable[[random.Random], Profile]:
    return lambda random: replace(mixed(random), kinds=kinds, **changes)  # type: ignore[arg-type]  # by field name


def overload(random: random.Random) -> Profile:
    """More than a cluster likes; in full batches, or the backlog would take for ever."""
    profile = mixed(random)
    return replace(
        profile,
        settings=replace(profile.settings, max_append_entries=64),
        kinds={Kind.BURST: 5, Kind.SLOW_DISK: 2, Kind.SLOW_MACHINE: 2, Kind.CRASH: 1},
        requests=60.0,
    )


def snapshots(random: random.Random) -> Profile:
    """Logs that end early, so that whoever was away a moment needs a snapshot."""
    profile = mixed(random)
    return replace(
        profile,
        settings=replace(profile.settings, trailing_logs=random.choice([0, 1])),
        kinds={Kind.SNAPSHOT: 8, Kind.PARTITION: 5, Kind.CRASH: 3, Kind.STALLED_DISK: 3, Kind.SLOW_MACHINE: 1},
        faults=3.0,
        snapshots=4.0,
    )


def reads(random: random.Random) -> Profile:
    """Leaders that stand still until another leads, and are asked to read before they know."""
    profile = mixed(random)
    settings = replace(
        profile.settings,
        heartbeat_timeout=0.3,
        election_timeout=0.3,
        leader_lease_timeout=random.choice([0.06, 0.15, 0.3]),
    )
    return replace(
        profile,
        voters=3,
        spares=0,
        settings=settings,
        kinds={Kind.PAUSE: 8, Kind.PARTITION: 2, Kind.ISOLATE_IN: 1, Kind.ISOLATE_OUT: 1, Kind.CRASH: 1},
        faults=2.0,
        fault_lasts=1.0,
        requests=60.0,
    )


def leases(random: random.Random) -> Profile:
    """Leases that last until just before others may vote, and whatever tempts others to vote earlier."""
    profile = mixed(random)
    settings = replace(profile.settings, heartbeat_timeout=0.3, election_timeout=0.3, leader_lease_timeout=0.3)
    return replace(
        profile,
        voters=3,
        spares=0,
        settings=settings,
        loss=0.0,
        delay=0.002,
        kinds={Kind.RESTART: 4, Kind.PARTIAL_PARTITION: 4, Kind.SLOW_LINK: 2},
        faults=2.0,
        requests=1.5,
        transfers=5.0,
        changes=0.05,
        snapshots=0.1,
    )


PROFILES: Mapping[str, Callable[[random.Random], Profile]] = {
    "mixed": mixed,
    "calm": _only({Kind.SNAPSHOT: 1}, faults=0.1, loss=0.0, duplication=0.0),
    "crashes": _only({Kind.CRASH: 8, Kind.BLACKOUT: 2, Kind.SNAPSHOT: 1}, faults=2.0),
    "partitions": _only(
        {
            Kind.PARTITION: 4,
            Kind.PARTIAL_PARTITION: 4,
            Kind.ONE_WAY_LINK: 3,
            Kind.ISOLATE_OUT: 2,
            Kind.ISOLATE_IN: 2,
            Kind.FLAP: 2,
            Kind.CRASH: 1,
        }
    ),
    "disks": _only({Kind.SLOW_DISK: 3, Kind.STALLED_DISK: 3, Kind.FAILED_WRITE: 3, Kind.CRASH: 2}),
    "network": _only(
        {Kind.LOSS: 3, Kind.DUPLICATION: 3, Kind.DELAY: 3, Kind.BREAK_STREAMS: 3, Kind.PARTITION: 2, Kind.CRASH: 1},
        delay=0.03,
        ordered_streams=False,
    ),
    "snapshots": snapshots,
    "reads": reads,
    "transfers": _only(
        {Kind.SLOW_LINK: 4, Kind.DELAY: 2, Kind.PARTITION: 1, Kind.CRASH: 1, Kind.PAUSE: 1}, transfers=8.0, changes=0.3
    ),
    "leases": leases,
    "membership": _only({Kind.CRASH: 3, Kind.PARTITION: 4, Kind.SNAPSHOT: 1}, changes=6.0, transfers=1.0),
    "removals": _only({Kind.CRASH: 3, Kind.PARTITION: 2}, voters=3, spares=0, changes=6.0, fewest_voters=1),
    "overload": overload,
}
"""By name: what makes a profile from dice."""


def draw_profile(random: random.Random) -> tuple[str, Profile]:
    """One of them, half of the time the mixture of everything."""
    name = "mixed" if random.random() < 0.5 else random.choice(list(PROFILES))
    return name, PROFILES[name](random)
