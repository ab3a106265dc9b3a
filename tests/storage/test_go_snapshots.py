"""Snapshots a Go node has written are read here, and ours are described as it would."""

import json
from pathlib import Path
from typing import Any

import pytest

from pyraft_lite.core.configuration import Configuration, Server
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage import FileSnapshotStore

RECORDED = (Path(__file__).parent.parent / "data" / "disk-format.txt").read_text()
IDS = ["3-4007-1795425838322", "3-4007-1795425838300"]  # newest first


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A directory with the snapshots of the recorded nodeB."""
    for snapshot_id in IDS:
        path = tmp_path / "snapshots" / snapshot_id
        path.mkdir(parents=True)
        (path / "meta.json").write_text(recorded(snapshot_id, "meta.json").rstrip("\n") + "\n")
        size = json.loads(recorded(snapshot_id, "meta.json"))["Size"]
        (path / "state.bin").write_bytes(recorded(snapshot_id, "state.bin").encode()[:size])
    return tmp_path


def recorded(snapshot_id: str, name: str) -> str:
    return RECORDED.split(f"== nodeB/snapshots/{snapshot_id}/{name}\n")[1].split("== nodeB")[0]


def edit_meta(node: Path, **changed: Any) -> None:
    path = node / "snapshots" / IDS[0] / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_they_are_listed_newest_first_and_open_with_the_right_state(node: Path) -> None:
    store = FileSnapshotStore(node)
    assert [meta.id for meta in store.list()] == IDS
    meta, file = store.open(IDS[0])
    with file:
        assert file.read().decode().split("\n")[1] == "éénduizend negenhonderdnegenennegentig"
    voters = tuple(Server(f"node{name}", f"localhost:5005{port}") for port, name in enumerate("ABC", 1))
    assert (meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size) == (
        4007,
        3,
        Configuration(voters),
        4,
        142,
    )


def test_ours_of_the_same_state_has_the_same_description(node: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    meta, file = FileSnapshotStore(node).open(IDS[0])
    directory = tmp_path_factory.mktemp("ours")
    sink = FileSnapshotStore(directory).create(
        index=meta.index, term=meta.term, configuration=meta.configuration, configuration_index=meta.configuration_index
    )
    with file:
        sink.write(file.read())
    ours = sink.close().id
    text = (directory / "snapshots" / ours / "meta.json").read_text()
    assert text.replace(ours, meta.id) == (node / "snapshots" / meta.id / "meta.json").read_text()


@pytest.mark.parametrize("at", [0, 71, 141])
def test_a_flipped_bit_is_refused(node: Path, at: int) -> None:
    path = node / "snapshots" / IDS[0] / "state.bin"
    state = bytearray(path.read_bytes())
    state[at] ^= 1
    path.write_bytes(state)
    with pytest.raises(StorageError, match=r"is damaged: its checksum is [0-9a-f]{16}, should be 4c0a0f1d9e86b512"):
        FileSnapshotStore(node).open(IDS[0])


def test_what_is_read_piece_by_piece_lacks_its_end_if_a_bit_is_flipped(node: Path) -> None:
    path = node / "snapshots" / IDS[0] / "state.bin"
    state = bytearray(path.read_bytes())
    state[0] ^= 1
    path.write_bytes(state)
    source = FileSnapshotStore(node).stream(IDS[0])
    assert source.read(141) == state[:141]
    for _ in range(2):
        with pytest.raises(StorageError, match=r"is damaged: its checksum is [0-9a-f]{16}, should be 4c0a0f1d9e86b512"):
            source.read(141)
    source.close()


def test_a_state_that_becomes_shorter_while_it_is_read_is_refused(node: Path) -> None:
    source = FileSnapshotStore(node).stream(IDS[0])
    (node / "snapshots" / IDS[0] / "state.bin").write_bytes(b"")
    with pytest.raises(StorageError, match="is damaged: its checksum is 0000000000000000"):
        source.read(142)
    source.close()


def test_a_state_that_the_disk_does_not_give_back_is_named(node: Path) -> None:
    edit_meta(node, Size=0)
    path = node / "snapshots" / IDS[0] / "state.bin"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # EIO, where nothing is mapped
    with pytest.raises(StorageError, match=rf"cannot read snapshot .*{IDS[0]}: Input/output error"):
        FileSnapshotStore(node).open(IDS[0])


@pytest.mark.parametrize("size", [0, 141, 143, 5000])
def test_a_state_that_is_too_short_or_too_long_is_refused(node: Path, size: int) -> None:
    path = node / "snapshots" / IDS[0] / "state.bin"
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])
    store = FileSnapshotStore(node)
    for call in (store.open, store.stream):
        with pytest.raises(StorageError, match=rf"{IDS[0]} is damaged: its state has {size} bytes, should have 142"):
            call(IDS[0])


@pytest.mark.parametrize("name", ["meta.json", "state.bin"])
def test_a_missing_file_is_named(node: Path, name: str) -> None:
    (node / "snapshots" / IDS[0] / name).unlink()
    with pytest.raises(StorageError, match=f"cannot read .*{IDS[0]}.*: No such file or directory"):
        FileSnapshotStore(node).open(IDS[0])


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "[" * 100_000, '"\\ud800', "{}"])
def test_a_description_that_is_no_json_object_is_named(node: Path, text: str) -> None:
    (node / "snapshots" / IDS[0] / "meta.json").write_text(text)
    store = FileSnapshotStore(node)
    assert [meta.id for meta in store.list()] == IDS[1:]
    with pytest.raises(StorageError, match=rf"{IDS[0]}/meta\.json does not describe a snapshot"):
        store.open(IDS[0])


def test_version_0_is_left_out_and_refused_by_name(node: Path) -> None:
    edit_meta(node, Version=0)
    store = FileSnapshotStore(node)
    assert [meta.id for meta in store.list()] == IDS[1:]
    with pytest.raises(StorageError, match=rf"{IDS[0]}/meta\.json has version 0, this program reads version 1"):
        store.open(IDS[0])


def test_a_configuration_without_servers_is_null_to_go(node: Path) -> None:
    edit_meta(node, Configuration={"Servers": None})
    meta, file = FileSnapshotStore(node).open(IDS[0])
    file.close()
    assert meta.configuration == Configuration()


@pytest.mark.parametrize(
    "changed",
    [
        {"Index": "4007"},
        {"Index": -1},
        {"Index": 1 << 64},
        {"Term": True},
        {"ConfigurationIndex": float("inf")},
        {"Size": 142.5},
        {"Size": None},
        {"CRC": "!"},
        {"Configuration": None},
        {"Configuration": {"Servers": [{"Suffrage": 9, "ID": "a", "Address": "a:1"}]}},
        {"Configuration": {"Servers": [{"Suffrage": 0, "ID": 1, "Address": "a:1"}]}},
        {"Configuration": {"Servers": [{"Suffrage": 0, "ID": "a", "Address": None}]}},
        {"Configuration": {"Servers": [{"Suffrage": 0, "ID": "a"}]}},
        {"Configuration": {"Servers": [1]}},
    ],
)
def test_a_description_that_makes_no_sense_is_named(node: Path, changed: dict[str, Any]) -> None:
    edit_meta(node, **changed)
    store = FileSnapshotStore(node)
    assert [meta.id for meta in store.list()] == IDS[1:]
    with pytest.raises(StorageError, match=rf"{IDS[0]}/meta\.json does not describe a snapshot"):
        store.open(IDS[0])
