import json
import socket
import threading

import pytest

from tests.test_distribution import free_addresses, make_config
from tlkit.errors import ClusterError
from tlkit.worker_cluster import WorkerCluster, patience, read_cluster, wait_for_workers

TWO = ["127.0.0.1:2001", "127.0.0.1:2002"]


def test_the_cluster_is_read_from_tf_config():
    found = read_cluster({"TF_CONFIG": make_config(TWO, 1)})
    assert found == WorkerCluster(tuple(TWO), 1)
    assert not found.is_chief


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        json.dumps({"cluster": {"worker": TWO}}),
        json.dumps({"cluster": {"worker": TWO}, "task": {"type": "ps", "index": 0}}),
        json.dumps({"cluster": {"worker": TWO, "ps": TWO}, "task": {"type": "worker", "index": 0}}),
        make_config(TWO, 2),
        make_config(TWO, True),
        make_config(TWO[:1], 0),
        make_config([TWO[0], TWO[0]], 0),
        make_config([TWO[0], "127.0.0.1"], 0),
        make_config([TWO[0], "127.0.0.1:99999"], 0),
        make_config(7, 0),
    ],
)
def test_what_describes_no_cluster_is_one_error_with_an_example(text):
    with pytest.raises(ClusterError, match=r"(?s)TF_CONFIG.*TF_CONFIG='\{.*alone"):
        read_cluster({"TF_CONFIG": text})


def test_the_patience_is_a_number():
    assert patience({"TLKIT_WORKER_PATIENCE": "3"}) == 3
    with pytest.raises(ClusterError, match="above 0"):
        patience({"TLKIT_WORKER_PATIENCE": "nan"})


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"cannot listen at {address}"):
            wait_for_workers(WorkerCluster((address, TWO[1]), 0), 1)


def test_a_worker_that_does_not_come_is_named():
    addresses = tuple(free_addresses(2))
    with pytest.raises(ClusterError, match=f"waited 0.3 seconds for worker 1 at {addresses[1]}"):
        wait_for_workers(WorkerCluster(addresses, 0), 0.3)


def meet(clusters):
    errors = []

    def run(cluster):
        try:
            wait_for_workers(cluster, 3)
        except ClusterError as err:
            errors.append(str(err))

    threads = [threading.Thread(target=run, args=(cluster,)) for cluster in clusters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_workers_meet():
    addresses = tuple(free_addresses(3))
    assert meet([WorkerCluster(addresses, index) for index in range(3)]) == []


def test_workers_of_other_clusters_are_told():
    first, second, third = free_addresses(3)
    errors = meet([WorkerCluster((first, second), 0), WorkerCluster((first, second, third), 1)])
    assert any("lists other machines" in error for error in errors)
