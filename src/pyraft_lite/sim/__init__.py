"""A deterministic simulator of whole clusters, over the very core that production runs.

    report = Simulation(seed=1).run()

A simulation crashes nodes at every point, loses and reorders messages, cuts links, stalls and fails disks and changes
the membership, all under a virtual clock and from one seed, and checks the invariants at every step. What it finds is a
Violation, and the seed shows it again. With a Workload it simulates an application of your own: see docs/simulation.md.
"""

from pyraft_lite.sim.faults import Fault, Kind
from pyraft_lite.sim.profile import PROFILES, Profile, draw_profile
from pyraft_lite.sim.simulation import Report, Simulation
from pyraft_lite.sim.violation import Violation
from pyraft_lite.sim.workload import Read, Workload, Write

__all__ = [
    "PROFILES",
    "Fault",
    "Kind",
    "Profile",
    "Read",
    "Report",
    "Simulation",
    "Violation",
    "Workload",
    "Write",
    "draw_profile",
]
