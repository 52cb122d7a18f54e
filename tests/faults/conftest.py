"""One broker of one node for all tests; each has a federation of its own in it."""

from collections.abc import Iterator

import pytest

from benchmarks.faults.cluster import Cluster
from benchmarks.faults.run import clustered


@pytest.fixture(scope="session")
def broker(tmp_path_factory) -> Iterator[Cluster]:
    with clustered(tmp_path_factory.mktemp("faults") / "broker", 1) as cluster:
        yield cluster
