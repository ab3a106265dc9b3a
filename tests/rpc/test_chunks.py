"""Bytes that wait."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.chunks import Chunks

KINDS = st.sampled_from([bytes, bytearray, memoryview])
PIECES = st.lists(st.tuples(KINDS, st.binary(max_size=20) | st.sampled_from([bytes(4095), b"x" * 4096, b"y" * 9000])))


@given(PIECES, st.data())
def test_they_are_taken_in_the_order_in_which_they_came(pieces: list[tuple[type, bytes]], data: st.DataObject) -> None:
    chunks, taken, put = Chunks(), b"", b""
    for kind, piece in pieces:
        chunks.put(kind(piece))
        put += piece
        taken += b"".join(chunks.take(data.draw(st.integers(0, len(chunks)))))
        assert len(chunks) == len(put) - len(taken)
    assert bool(chunks) == (len(taken) < len(put))
    assert taken + b"".join(chunks.take(len(chunks))) == put


def test_what_is_large_is_not_copied() -> None:
    chunks, large = Chunks(), bytes(10**6)
    tracemalloc.start()
    try:
        for _ in range(10):
            chunks.put(b"small")
            chunks.put(memoryview(large))
            assert sum(map(len, chunks.take(10**6))) == 10**6
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 10**5
