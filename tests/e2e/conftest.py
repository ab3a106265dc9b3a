"""Clusters that several tests share."""

from collections.abc import Iterator

import pytest

from e2e.harness import FLAGS
from raftexample.local_cluster import LocalCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three voters, for tests that leave them so."""
    with LocalCluster(tmp_path_factory.mktemp("cluster"), flags=FLAGS) as cluster:
        cluster.form()
        yield cluster
