"""What must hold, one file each. Reads are checked by the oracle, liveness by the simulation at its end."""

from pyraft_lite.sim.invariants.acknowledged_writes import AcknowledgedWrites
from pyraft_lite.sim.invariants.commit_quorum import CommitQuorum
from pyraft_lite.sim.invariants.durability import Durability
from pyraft_lite.sim.invariants.election_safety import ElectionSafety
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.invariants.leader_completeness import LeaderCompleteness
from pyraft_lite.sim.invariants.log_matching import LogMatching
from pyraft_lite.sim.invariants.monotonicity import Monotonicity
from pyraft_lite.sim.invariants.state_machine_safety import StateMachineSafety

ALL: tuple[type[Invariant], ...] = (
    ElectionSafety,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    Monotonicity,
    Durability,
    CommitQuorum,
    AcknowledgedWrites,
)

__all__ = ["ALL", "Invariant"]
