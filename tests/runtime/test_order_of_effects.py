"""In which order a node carries out what one step of the core wants."""

import pytest

from pyraft_lite.core.configuration import Server
from pyraft_lite.core.effects import Apply, Effect, Send, Write
from pyraft_lite.core.messages import AppendEntriesRequest, Peer
from pyraft_lite.runtime.raft import _sends_first

WRITE, APPLY = Write(1), Apply(1)
TO_B, TO_C = (
    Send(number, Server(name, name), AppendEntriesRequest(1, Peer("a", "a"))) for number, name in enumerate("bc")
)


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ([], []),
        ([APPLY], [APPLY]),
        ([WRITE, APPLY], [WRITE, APPLY]),
        ([TO_B, APPLY], [TO_B, APPLY]),
        ([WRITE, TO_B, TO_C], [TO_B, TO_C, WRITE]),
        ([WRITE, TO_B, APPLY, TO_C, APPLY], [TO_B, APPLY, TO_C, WRITE, APPLY]),
    ],
)
def test_a_write_goes_behind_what_is_sent_and_all_else_keeps_its_place(
    wanted: list[Effect], order: list[Effect]
) -> None:
    assert _sends_first(wanted) == order
