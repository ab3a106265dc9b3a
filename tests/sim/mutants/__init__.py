"""Known bugs of Raft implementations, each to be put back into the core by replacing some of it: what the simulator is
worth shows in whether it finds them."""

from mutants import commit, election, membership, reads, replication, snapshots, storage, transfer
from mutants.mutant import Mutant

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for module in (election, storage, replication, commit, membership, snapshots, reads, transfer)
    for mutant in vars(module).values()
    if isinstance(mutant, Mutant)
}

__all__ = ["MUTANTS", "Mutant"]
