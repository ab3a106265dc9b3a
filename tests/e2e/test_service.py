"""What clients see of a running cluster, as recorded from the original (tests/data/transcript-C.txt)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from e2e.harness import FLAGS, add_word, get_words
from pyraft_lite.core.entry import ENTRY_OVERHEAD
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES
from pyraft_lite.rpc.pb import example_pb2, example_pb2_grpc, raft_admin_pb2, raft_admin_pb2_grpc
from raftexample.forwarding import FORWARDED
from raftexample.local_cluster import LocalCluster

LARGEST_WORD = MAX_MESSAGE_BYTES - ENTRY_OVERHEAD


def follower(cluster: LocalCluster) -> str:
    leader = cluster.leader()
    return next(name for name in cluster.nodes if name != leader)


@pytest.fixture
def channel(cluster: LocalCluster) -> Iterator[grpc.Channel]:
    """A channel to the leader."""
    with grpc.insecure_channel(cluster.nodes[cluster.leader()].address) as channel:
        yield channel


def test_a_node_that_belongs_to_no_cluster_answers_reads_and_refuses_writes(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA")
        response = get_words(cluster, "nodeA")
        assert (response.read_at_index, list(response.best_words)) == (0, ["", "", ""])
        with pytest.raises(grpc.RpcError) as refused:
            add_word(cluster, "nodeA", "x")
        assert (refused.value.code(), refused.value.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "node is not the leader",
        )


def test_words_are_ordered_as_recorded(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        for word, expected in (
            ("hello", ["hello", "", ""]),
            ("hello", ["hello", "hello", ""]),
            ("", ["hello", "hello", ""]),
            ("abcde", ["abcde", "hello", "hello"]),
            ("ab", ["abcde", "hello", "hello"]),
            ("after-config", ["after-config", "abcde", "hello"]),
        ):
            index = add_word(cluster, "nodeA", word)
            response = get_words(cluster, "nodeA")
            assert list(response.best_words) == expected
            assert response.read_at_index == index


def test_a_write_on_a_follower_is_refused_unless_it_forwards(cluster: LocalCluster) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        add_word(cluster, follower(cluster), "x")
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNAVAILABLE, "node is not the leader")


def test_a_linearizable_read_is_the_leaders(cluster: LocalCluster) -> None:
    leader = cluster.leader()
    index = add_word(cluster, leader, "read me")
    assert get_words(cluster, leader, linearizable=True).read_at_index >= index
    with pytest.raises(grpc.RpcError) as refused:
        get_words(cluster, follower(cluster), linearizable=True)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_with_forwarding_any_node_takes_writes_and_linearizable_reads(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=(*FLAGS, "--forward_to_leader")) as cluster:
        cluster.form()
        cluster.wait_until_equal()
        for name in cluster.nodes:
            word = f"through {name}"
            index = add_word(cluster, name, word)
            for reader in cluster.nodes:
                response = get_words(cluster, reader, linearizable=True)
                assert response.read_at_index >= index
                assert word in response.best_words


def test_a_word_with_a_newline_is_refused(cluster: LocalCluster) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        add_word(cluster, cluster.leader(), "two\nlines")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "newline" in refused.value.details()


def test_the_largest_word_fits_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        add_word(cluster, leader, "x" * LARGEST_WORD, timeout=20)
        for size, code in (
            (LARGEST_WORD + 1, grpc.StatusCode.INVALID_ARGUMENT),
            (4194304, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                add_word(cluster, leader, "x" * size, timeout=20)
            assert refused.value.code() is code, refused.value.details()
        add_word(cluster, cluster.leader(), "small one after it")
        cluster.wait_until_equal()


def test_ten_words_of_900_kB_at_once_do_not_wedge_the_cluster(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, flags=FLAGS) as cluster:
        cluster.form()
        leader = cluster.leader()
        with ThreadPoolExecutor(10) as pool:
            words = [str(number) * 900_000 for number in range(10)]
            indexes = list(pool.map(lambda word: add_word(cluster, leader, word, timeout=30), words))
        assert len(set(indexes)) == 10
        add_word(cluster, cluster.leader(), "small one after them")
        cluster.wait_until_equal()


def health(cluster: LocalCluster, name: str, service: str) -> str:
    with grpc.insecure_channel(cluster.nodes[name].address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


@pytest.mark.parametrize(
    ("service", "on_leader", "on_follower"),
    [
        ("", "SERVING", "SERVING"),
        ("Example", "SERVING", "NOT_SERVING"),
        ("quis.RaftLeader", "SERVING", "NOT_SERVING"),
        ("RaftAdmin", "NOT_FOUND unknown service", "NOT_FOUND unknown service"),
        ("RaftTransport", "NOT_FOUND unknown service", "NOT_FOUND unknown service"),
        ("nope", "NOT_FOUND unknown service", "NOT_FOUND unknown service"),
    ],
)
def test_health_tells_who_leads(cluster: LocalCluster, service: str, on_leader: str, on_follower: str) -> None:
    assert health(cluster, cluster.leader(), service) == on_leader
    assert health(cluster, follower(cluster), service) == on_follower


def test_watching_the_health_of_an_unknown_service_says_so(channel: grpc.Channel) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=5)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_lists_all_services(channel: grpc.Channel) -> None:
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(requests), timeout=5)
    names = {service.name for service in answer.list_services_response.service}
    assert {"Example", "RaftAdmin", "RaftTransport", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("method", ["/Example/Nope", "/Nope/AddWord"])
def test_an_unknown_method_or_service_is_unimplemented(channel: grpc.Channel, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(b"", timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_word_that_is_no_text_is_refused(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError):
        channel.unary_unary("/Example/AddWord")(b"\x0a\x02\xff\xfe", timeout=5)


def test_bytes_through_apply_log_do_not_break_reads_or_snapshots(tmp_path: Path) -> None:
    with LocalCluster(tmp_path, names=["nodeA"], flags=FLAGS) as cluster:
        cluster.start("nodeA", "--raft_bootstrap")
        cluster.leader()
        address = cluster.nodes["nodeA"].address
        cluster.check_raftadmin(address, "apply_log", "first line\nsecond line", "")
        cluster.check_raftadmin(address, "apply_log", "\udcff\udcfe is no text", "")
        before = cluster.words("nodeA")
        assert before == ["first line second line", "\ufffd\ufffd is no text", ""]
        cluster.check_raftadmin(address, "snapshot")
        cluster.kill("nodeA")
        cluster.start("nodeA")
        cluster.leader()
        assert cluster.words("nodeA") == before


def test_an_outcome_can_be_asked_for_until_it_is_forgotten(channel: grpc.Channel) -> None:
    admin = raft_admin_pb2_grpc.RaftAdminStub(channel)
    token = admin.Barrier(raft_admin_pb2.BarrierRequest(), timeout=5)
    first = admin.Await(token, timeout=5)
    assert first.index > 0
    assert admin.Await(token, timeout=5) == first
    admin.Forget(token, timeout=5)
    with pytest.raises(grpc.RpcError) as unknown:
        admin.Await(token, timeout=5)
    assert unknown.value.code() is grpc.StatusCode.UNKNOWN
    assert unknown.value.details() == f'token "{token.operation_token}" unknown'


def test_a_call_that_was_forwarded_once_is_not_forwarded_again(tmp_path: Path) -> None:
    """Nodes that took each other for the leader would otherwise pass it to and fro."""
    with LocalCluster(tmp_path, flags=(*FLAGS, "--forward_to_leader")) as cluster:
        cluster.form()
        with grpc.insecure_channel(cluster.nodes[follower(cluster)].address) as channel:
            stub = example_pb2_grpc.ExampleStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.AddWord(example_pb2.AddWordRequest(word="x"), metadata=((FORWARDED, "1"),), timeout=5)
        assert refused.value.details() == "node is not the leader"
