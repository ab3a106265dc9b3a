"""The Raft protocol, without I/O: give a node an event and the time, take its effects and carry them out.

    effects = core.step(event, now)     # what happened -> what to do
    core.deadline()                     # when to step it with Tick

Nothing here reads a clock, a file, a socket or a random source of its own: time is an argument, randomness is injected,
so a run is a pure function of its inputs. The simulator drives the very class that production runs.

The contract with who drives it:

* Durability. A Write is answered by Written once it and all writes before it survive a crash. What a response promises
  (a
  vote, entries) is durable when the Respond effect is given out, so Respond may be carried out at once. A leader sends
  entries while its own write is under way, and counts itself only when that is Written.
* Every Send and SendSnapshot is answered by exactly one RpcResponse or RpcFailed; a deadline on RPCs is the driver's
  duty.
* Every operation's token comes back exactly once, in a Complete, ReadReady, Apply or Fail effect.
* Entries between applied and committed are read through ``core.log.entries``.

The rules R1 to R20 that docstrings refer to are listed in docs/rules.md. "Dissertation" is Diego Ongaro, Consensus:
Bridging Theory and Practice, 2014.
"""

from pyraft_lite.core.node import Core
from pyraft_lite.core.settings import Settings
from pyraft_lite.core.state import HardState, State

__all__ = ["Core", "HardState", "Settings", "State"]
