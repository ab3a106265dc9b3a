"""Runs a Raft node: asyncio, threads for disk and state machine, and the operations of hashicorp/raft's ``Raft``.

raft = Raft(config, fsm, log_store, stable_store, snapshot_store, transport)
await raft.start()
applied = await raft.apply(b"command")
await raft.shutdown()
"""

from pyraft_lite.core import Settings
from pyraft_lite.runtime.api import Applied, Leader, Observation, RaftOperations, State
from pyraft_lite.runtime.bootstrap import bootstrap_cluster, has_existing_state, read_peers_json, recover_cluster
from pyraft_lite.runtime.config import Config
from pyraft_lite.runtime.fsm import FSM, FSMSnapshot
from pyraft_lite.runtime.raft import Raft

__all__ = [
    "FSM",
    "Applied",
    "Config",
    "FSMSnapshot",
    "Leader",
    "Observation",
    "Raft",
    "RaftOperations",
    "Settings",
    "State",
    "bootstrap_cluster",
    "has_existing_state",
    "read_peers_json",
    "recover_cluster",
]
