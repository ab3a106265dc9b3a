"""The key-value store of the examples, but for R16: it reads what it has, and asks nobody whether that is current."""

import sys
from pathlib import Path

from pyraft_lite.runtime import Raft


class CarelessRaft(Raft):
    async def read_index(self, lease: bool = False) -> int:
        return self.applied_index


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2] / "examples"))
    import kv_store

    kv_store.Raft = CarelessRaft  # type: ignore[misc]
    kv_store.main()
