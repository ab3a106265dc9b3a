"""A deterministic simulator of whole clusters, over the very core that production runs.

    report = Simulation(seed=1).run()

A simulation crashes nodes at every point, loses and reorders messages, cuts links, stalls disks and changes the
membership, all under a virtual clock and from one seed, and checks the invariants at every step. What it finds is a
Violation, and the seed shows it again.
"""

from pyraft_lite.sim.profile import Profile, random_profile
from pyraft_lite.sim.simulation import Report, Simulation
from pyraft_lite.sim.violation import Violation

__all__ = ["Profile", "Report", "Simulation", "Violation", "random_profile"]
