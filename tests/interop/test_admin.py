"""Each kind is administered with the other's client: every method of RaftAdmin."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Protocol

import pytest
from mixed_cluster import GO_ADMIN, PATIENT, MixedCluster

from pyraft_lite.rpc.pb import raft_admin_pb2
from raftexample.local_cluster import program

METHODS = raft_admin_pb2.DESCRIPTOR.services_by_name["RaftAdmin"].methods_by_name

Field = str | int | bytes


class Client(Protocol):
    """Calls a method of a node."""

    def __call__(self, address: str, method: str, /, **fields: Field) -> "subprocess.CompletedProcess[str]": ...


def our_client(address: str, method: str, /, **fields: Field) -> "subprocess.CompletedProcess[str]":
    """raftadmin takes the fields in the order of their numbers, bytes as they are."""
    arguments = [fields.get(field.name, field.default_value) for field in METHODS[method].input_type.fields]
    texts = [argument.decode() if isinstance(argument, bytes) else str(argument) for argument in arguments]
    return run([*program("raftadmin"), address, method, *texts])


def go_client(address: str, method: str, /, **fields: Field) -> "subprocess.CompletedProcess[str]":
    """The Go client takes a request as JSON."""
    values = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in fields.items()
    }
    return run([str(GO_ADMIN), address, method, json.dumps(values)])


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("client", "names"),
    [
        pytest.param(our_client, ("go1", "go2"), id="our client, Go nodes"),
        pytest.param(go_client, ("py1", "py2"), id="Go client, our nodes"),
    ],
)
def test_every_method_works(tmp_path: Path, client: Client, names: tuple[str, str]) -> None:
    leader, other = names
    called = set()
    with MixedCluster(tmp_path, names, (*PATIENT, "--trailing_logs", "1")) as cluster:

        def ask(node: str, method: str, /, **fields: Field) -> str:
            """What the client prints."""
            called.add(method)
            result = client(cluster.nodes[node].address, method, **fields)
            assert result.returncode == 0, result.stderr
            return result.stdout + result.stderr

        def refused(node: str, method: str, /, **fields: Field) -> str:
            """What the client prints when that fails."""
            result = client(cluster.nodes[node].address, method, **fields)
            assert result.returncode == 1, result.stdout
            return result.stderr

        def hand_over(node: str, heir: str, method: str, /, **fields: Field) -> None:
            """Has the method hand over leadership. hashicorp/raft may have to be asked again, as in
            MixedCluster.transfer; our nodes may not."""

            def leads() -> bool:
                if node.startswith("go") and cluster.leader() == node:
                    ask(node, method, **fields)
                return cluster.leader() == heir

            ask(node, method, **fields)
            cluster.wait_for(leads, f"{heir} leads")

        address = cluster.nodes[other].address
        cluster.start(leader, "--raft_bootstrap")
        cluster.wait_for(lambda: cluster.leader() == leader, "there is a leader")
        cluster.start(other)

        # Questions.
        assert "LEADER" in ask(leader, "State")
        assert cluster.nodes[leader].address in ask(leader, "Leader")
        assert number(ask(leader, "LastIndex"), "index") >= 2
        assert number(ask(leader, "AppliedIndex"), "index") >= 2
        assert "protocol_version_max" in ask(leader, "Stats")
        ask(leader, "LastContact")

        # Members.
        assert number(ask(leader, "AddNonvoter", id=other, address=address), "index") >= 3
        assert "NONVOTER" in ask(leader, "GetConfiguration")
        assert number(ask(leader, "AddVoter", id=other, address=address), "index") >= 4
        assert "NONVOTER" not in ask(leader, "GetConfiguration")
        assert "not the leader" in refused(other, "AddVoter", id=other, address=address)
        assert "onfiguration changed since" in refused(leader, "DemoteVoter", id=other, previous_index=1)

        # Entries.
        assert number(ask(leader, "ApplyLog", data=b"a word"), "index") >= 5
        assert cluster.words(leader) == ["a word"]
        ask(leader, "Barrier")
        ask(leader, "VerifyLeader")
        ask(leader, "Snapshot")
        assert cluster.snapshots(leader)

        # Outcomes.
        request = raft_admin_pb2.ApplyLogRequest(data=b"another")
        token = cluster.call(leader, "/RaftAdmin/ApplyLog", request, raft_admin_pb2.Future).operation_token
        assert number(ask(leader, "Await", operation_token=token), "index") >= 6
        ask(leader, "Forget", operation_token=token)
        assert re.search(r"token .*unknown", refused(leader, "Await", operation_token=token))

        # Leadership.
        hand_over(leader, other, "LeadershipTransfer")
        hand_over(other, leader, "LeadershipTransferToServer", id=leader, address=cluster.nodes[leader].address)

        ask(leader, "DemoteVoter", id=other)
        assert "NONVOTER" in ask(leader, "GetConfiguration")
        ask(leader, "RemoveServer", id=other)
        assert other not in ask(leader, "GetConfiguration")
        ask(leader, "Shutdown")
        assert "SHUTDOWN" in ask(leader, "State")
        # Asked to verify, hashicorp/raft may wait for ever for a main loop that has ended.
        assert "shutdown" in refused(leader, "Barrier")
    assert called == set(METHODS), "every method was called"


def number(text: str, field: str) -> int:
    """The last number that stands behind a field's name, in protobuf's text format or in JSON."""
    return int(re.findall(rf'"?{field}"?: *"?(\d+)', text)[-1])
