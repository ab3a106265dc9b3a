"""What must hold, one file each. Some of it is checked where it is known at once: the oracle checks that reads are not
stale, that nothing refused is committed and no write is applied twice; the simulation checks liveness at its end."""

from pyraft_lite.sim.invariants.acknowledged_writes import AcknowledgedWrites
from pyraft_lite.sim.invariants.commit_quorum import CommitQuorum
from pyraft_lite.sim.invariants.committed_stays import CommittedStays
from pyraft_lite.sim.invariants.configuration import ConfigurationInForce
from pyraft_lite.sim.invariants.durability import Durability
from pyraft_lite.sim.invariants.election_safety import ElectionSafety
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.invariants.leader_append_only import LeaderAppendOnly
from pyraft_lite.sim.invariants.leader_completeness import LeaderCompleteness
from pyraft_lite.sim.invariants.learners import LearnersCatchUp
from pyraft_lite.sim.invariants.leases import Leases
from pyraft_lite.sim.invariants.linearizability import Linearizability
from pyraft_lite.sim.invariants.log_matching import LogMatching
from pyraft_lite.sim.invariants.match_index import MatchIndex
from pyraft_lite.sim.invariants.message_limits import MessageLimits
from pyraft_lite.sim.invariants.monotonicity import Monotonicity
from pyraft_lite.sim.invariants.one_vote import OneVote
from pyraft_lite.sim.invariants.pre_vote import PreVoteChangesNothing
from pyraft_lite.sim.invariants.state_machine_safety import StateMachineSafety
from pyraft_lite.sim.invariants.transfer_ends import TransferEnds

ALL: tuple[type[Invariant], ...] = (
    ElectionSafety,
    OneVote,
    PreVoteChangesNothing,
    LeaderAppendOnly,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    CommittedStays,
    Monotonicity,
    Durability,
    MatchIndex,
    ConfigurationInForce,
    LearnersCatchUp,
    TransferEnds,
    Leases,
    MessageLimits,
    CommitQuorum,
    AcknowledgedWrites,
    Linearizability,
)

__all__ = ["ALL", "Invariant"]
