"""What the numbers must show, and whether they do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.calls import CONCURRENCIES
from bench.echo import STREAM, subject
from bench.floors import ONE_COMMIT
from bench.peers import ETCD, GO, OURS
from bench.results import OPERATIONS, P50, Results


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target.

    Attributes:
        target: What is wanted.
        measured: What there is; empty if it was not measured in this run.
        met: Whether that is enough; None if it was not measured, or is only stated.
    """

    target: str
    measured: str = ""
    met: bool | None = None


def judge(results: Results) -> list[Verdict]:
    """All targets."""
    return [*_unary(results), _one_caller(results)]


def _unary(results: Results) -> Iterator[Verdict]:
    for peer, factor, demanded in ((GO, 1.3, CONCURRENCIES), (ETCD, 1.0, (1, 10))):
        for concurrency in CONCURRENCIES:
            case = f"C={concurrency}"
            target = f"unary writes, {case}: {'≥ ' if concurrency in demanded else 'aim '}{factor} × {peer.title}"
            ours = results.median("unary", case, OURS.title, OPERATIONS)
            theirs = results.median("unary", case, peer.title, OPERATIONS)
            if ours is None or theirs is None:
                yield Verdict(target)
                continue
            ratio = ours / theirs
            met = ratio >= factor if concurrency in demanded else None
            yield Verdict(target, f"{ratio:.2f} × ({ours:.0f} to {theirs:.0f} ops/s)", met)


def floor_ms(results: Results) -> float | None:
    """The least a write of one caller can take: an echo, a commit and a peer's round trip. None if not measured."""
    parts = (
        results.median("echo", "C=1", subject("h2corn"), P50),
        results.median("floors", ONE_COMMIT, "LMDB commit", P50),
        results.median("echo", STREAM, subject("h2corn"), P50),
    )
    return _sum(parts)


def _one_caller(results: Results) -> Verdict:
    target = "unary writes, C=1: p50 ≤ 1.25 × floor (echo + LMDB commit + peer round trip)"
    ours, floor = results.median("unary", "C=1", OURS.title, P50), floor_ms(results)
    if ours is None or floor is None:
        return Verdict(target)
    return Verdict(target, f"{ours / floor:.2f} × ({ours:.2f} to {floor:.2f} ms)", ours <= 1.25 * floor)


def _sum(parts: Iterable[float | None]) -> float | None:
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
