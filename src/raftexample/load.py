"""A source of words that keeps coming for a while and measures how long each takes."""

import asyncio
import json
import statistics
from array import array
from dataclasses import asdict, dataclass

from raftexample.hammering import HammerError, Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a load went.

    Attributes:
        acknowledged: Words that were added.
        words_per_second: Of these, until the last was acknowledged.
        p50_ms, p99_ms: What half, and 99 of 100, of their latencies are at most, in milliseconds; None without any.
        errors: Words of which nobody knows whether they were added.
        first_error: Why the first of them was not acknowledged, "" without any.
    """

    acknowledged: int
    words_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    errors: int
    first_error: str

    def line(self) -> str:
        """For people: ``name:value name:value``, without the first error."""
        return " ".join(f"{name}:{value}" for name, value in asdict(self).items() if name != "first_error")

    def json(self) -> str:
        """A JSON object in a line."""
        return json.dumps(asdict(self), ensure_ascii=False)


class Load:
    """A :class:`~raftexample.hammering.Source` of words of one size.

    With a rate, each word is due at its time, whether those before it are acknowledged or not, and its latency counts
    from then; so what a slow server does to those who would have come meanwhile is not left out. Without one, a caller
    takes the next word when it has its answer.

    Args:
        duration: Seconds for which words are taken; those under way then are waited for.
        rate: Words a second in all, None: as fast as they are taken.
        size: Bytes of each word.
        most: How many words may be taken together.
    """

    def __init__(self, duration: float, rate: int | None, size: int, most: int) -> None:
        self._clock = asyncio.get_running_loop().time
        self._begin = self._last = self._clock()
        self._duration = duration
        self._rate = rate
        self._size = size
        self._most = most
        self._count = 0
        self._latencies = array("d")
        self._errors = 0
        self._first_error = ""

    async def take(self) -> list[Word]:
        """See :meth:`Source.take`."""
        elapsed = self._clock() - self._begin
        if self._rate is None:
            return [self._next(elapsed) for _ in range(self._most)] if elapsed < self._duration else []
        due = self._count / self._rate
        if due >= self._duration:
            return []
        words = [self._next(due)]
        if due > elapsed:
            await asyncio.sleep(due - elapsed)
            elapsed = self._clock() - self._begin
        while len(words) < self._most and (due := self._count / self._rate) < self._duration and due <= elapsed:
            words.append(self._next(due))
        return words

    def _next(self, due: float) -> Word:
        """A new word, due so many seconds after the beginning."""
        self._count += 1
        return Word(str(self._count).rjust(self._size, "x")[-self._size :], self._begin + due)

    def acknowledged(self, words: list[Word]) -> None:
        """See :meth:`Source.acknowledged`."""
        self._last = self._clock()
        self._latencies.extend(self._last - word.due for word in words)

    def failed(self, words: list[Word], error: HammerError) -> None:
        """See :meth:`Source.failed`."""
        if not error.transient:
            raise error
        self._errors += len(words)
        self._first_error = self._first_error or str(error)

    def summary(self) -> "Summary":
        """How it went."""
        seconds = self._last - self._begin
        p50, p99 = _percentiles(self._latencies)
        return Summary(
            acknowledged=len(self._latencies),
            words_per_second=round(len(self._latencies) / seconds, 1) if seconds else 0.0,
            p50_ms=p50,
            p99_ms=p99,
            errors=self._errors,
            first_error=self._first_error,
        )


def _percentiles(seconds: "array[float]") -> tuple[float | None, float | None]:
    """The 50th and 99th, in milliseconds."""
    if not seconds:
        return None, None
    # Python before 3.13 wants two values at least.
    cuts = statistics.quantiles(seconds if len(seconds) > 1 else [*seconds, *seconds], n=100, method="inclusive")
    return round(cuts[49] * 1000, 3), round(cuts[98] * 1000, 3)
