"""One node of PySyncObj, in memory, called in its own process.

``python -m bench.pysyncobj_node SELF OTHER…`` reads commands from stdin, one a line, and answers each with a line of
JSON: ``leads`` whether the node leads and can, ``run CALLERS SECONDS`` what came of calling it so long. It ends with
stdin.
"""

import dataclasses
import json
import logging
import sys
import threading
import time

from pysyncobj import SyncObj, SyncObjConf, replicated  # type: ignore[import-untyped]

from bench.load import LoadResult

VALUE = "0" * 16


class Words(SyncObj):  # type: ignore[misc]
    """Keeps the longest word."""

    def __init__(self, this: str, others: list[str]) -> None:
        # What its documentation says of requests that should not wait for others.
        super().__init__(this, others, conf=SyncObjConf(appendEntriesUseBatch=False))
        self.longest = ""

    @replicated  # type: ignore[untyped-decorator]
    def add(self, word: str) -> None:
        """Takes a word in."""
        self.longest = max(self.longest, word, key=len)


def call(node: Words, callers: int, seconds: float) -> LoadResult:
    """Has so many calls under way at a time; each ends with a callback, which begins the next."""
    latencies: list[float] = []
    cpu = time.process_time()
    end = time.perf_counter() + seconds
    left = threading.Semaphore(0)

    def begin() -> None:
        began = time.perf_counter()

        def ended(_: object, error: int) -> None:
            now = time.perf_counter()
            if now >= end:
                left.release()
                return
            if not error:
                latencies.append(now - began)
            begin()

        node.add(VALUE, callback=ended)

    for _ in range(callers):
        begin()
    for _ in range(callers):
        left.acquire(timeout=seconds + 10)
    return LoadResult.of(latencies, seconds, time.process_time() - cpu)


def main() -> None:
    """Obeys stdin."""
    logging.disable(logging.WARNING)  # Without batches it warns all the time.
    this, *others = sys.argv[1:]
    node = Words(this, others)
    for line in sys.stdin:
        match line.split():
            case ["leads"]:
                print(json.dumps(bool(node.isReady() and node._isLeader())), flush=True)
            case ["run", callers, seconds]:
                print(json.dumps(dataclasses.asdict(call(node, int(callers), float(seconds)))), flush=True)
    node.destroy()


if __name__ == "__main__":
    main()
