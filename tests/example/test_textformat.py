"""Messages as Go prints them."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from pyraft_lite.rpc.pb.example_pb2 import GetWordsResponse
from pyraft_lite.rpc.pb.raft_admin_pb2 import ApplyLogRequest, AwaitResponse, GetConfigurationResponse, StatsResponse
from raftexample.textformat import multi_line, one_line

WORDS = GetWordsResponse(
    read_at_index=2004,
    best_words=[
        "éénduizend negenhonderdnegenennegentig",
        "éénduizend negenhonderdnegenenzeventig",
        "éénduizend negenhonderdzevenennegentig",
    ],
)


def test_one_line_is_hammers() -> None:
    assert one_line(WORDS) == (
        'read_at_index:2004 best_words:"éénduizend negenhonderdnegenennegentig" '
        'best_words:"éénduizend negenhonderdnegenenzeventig" best_words:"éénduizend negenhonderdzevenennegentig"'
    )


def test_what_is_not_set_is_not_printed() -> None:
    assert one_line(GetWordsResponse()) == ""
    assert multi_line(AwaitResponse()) == ""


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ('"', r"\""),
        ("\\", r"\\"),
        ("'", "'"),
        ("\\'", r"\\'"),
        ("\\101", r"\\101"),
        ("a: b", "a: b"),
        ("\n\r\t", r"\n\r\t"),
        ("\x1b\x00", r"\x1b\x00"),
    ],
)
def test_strings_are_escaped_as_gos(word: str, shown: str) -> None:
    assert one_line(GetWordsResponse(best_words=[word])) == f'best_words:"{shown}"'


def test_bytes_are_escaped_in_hexadecimal() -> None:
    assert multi_line(ApplyLogRequest(data=b"\xff'a\\1")) == 'data: "\\xff\'a\\\\1"\n'


def test_nested_messages_have_a_colon_and_maps_are_sorted() -> None:
    response = GetConfigurationResponse()
    response.servers.add(suffrage=1, id="nodeC", address="localhost:50053")
    assert multi_line(response) == (
        'servers: {\n  suffrage: NONVOTER\n  id: "nodeC"\n  address: "localhost:50053"\n}\n'
    )
    assert multi_line(StatsResponse(stats={"b": "2", "a": "x {"})) == (
        'stats: {\n  key: "a"\n  value: "x {"\n}\nstats: {\n  key: "b"\n  value: "2"\n}\n'
    )


@given(words=st.lists(st.text()), data=st.binary())
def test_whatever_is_printed_is_read_back_the_same_and_one_line_is_one(words: list[str], data: bytes) -> None:
    response, request = GetWordsResponse(read_at_index=1, best_words=words), ApplyLogRequest(data=data)
    line = one_line(response)
    assert "\n" not in line
    assert text_format.Parse(line, GetWordsResponse()) == response
    assert text_format.Parse(multi_line(request), ApplyLogRequest()) == request
