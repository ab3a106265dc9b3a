"""How rough a simulation is. All times are in seconds."""

import random
from dataclasses import dataclass

from pyraft_lite.core import Settings


@dataclass(frozen=True, slots=True)
class Profile:
    """What a run goes through.

    Attributes:
        voters: How many nodes the cluster begins with.
        spares: How many nodes wait outside of it, to be added.
        settings: Of every node.
        duration: How long faults go on; after that there are none, and everything must settle.
        settle: How long it may take to settle.
        loss, duplication: The probability that a message gets lost, or comes twice.
        delay: The mean delay of a message.
        faults: How many faults per second.
        requests: How many requests of clients per second.
        clock_drift: By which part a node's clock may run faster or slower.
    """

    voters: int
    spares: int
    settings: Settings
    duration: float = 30.0
    settle: float = 20.0
    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.002
    faults: float = 1.5
    requests: float = 30.0
    clock_drift: float = 0.05


def random_profile(random: random.Random) -> Profile:
    """Any mixture of everything."""
    choice = random.choice
    settings = Settings(
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
