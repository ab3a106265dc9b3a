"""A Raft library that speaks hashicorp/raft's wire protocol.

- ``pyraft_lite.core``: the protocol, pure and without I/O.
- ``pyraft_lite.storage``: log, stable values and snapshots on disk.
- ``pyraft_lite.runtime``: runs a node on asyncio; where applications begin.
- ``pyraft_lite.sim``: simulates whole clusters, to find what only bad luck would show.
- ``pyraft_lite.rpc``: transport, admin service, leader health and clients over gRPC.
"""
