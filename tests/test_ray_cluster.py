import asyncio
import socket
import types

import pytest

from tlkit import ClusterError, PluginError, extras
from tlkit.ray_cluster import Connection, Layout, RayCluster
from tlkit.ray_extraction import Desk, groups_of


def connection_to(monkeypatch, nodes, **settings):
    """A connection to a cluster whose nodes have so many processors."""
    connection = Connection(RayCluster(**settings))
    alive = [{"Alive": True, "Resources": {"CPU": cpus} if cpus else {}} for cpus in nodes]
    dead = {"Alive": False, "Resources": {"CPU": 64}}
    ray = types.SimpleNamespace(nodes=lambda: [*alive, dead])
    monkeypatch.setattr(connection, "ray", lambda: ray)
    return connection


@pytest.mark.parametrize(
    ("nodes", "settings", "layout"),
    [
        ([2], {}, Layout(1, 2)),
        ([1, 1, 1], {}, Layout(3, 1)),
        ([0, 4, 4], {}, Layout(2, 4)),
        ([32, 16], {}, Layout(6, 8)),
        ([4, 2], {}, Layout(3, 2)),
        ([8], {"workers": 2}, Layout(2, 4)),
        ([2], {"workers": 8}, Layout(8, 1)),
        ([16, 16], {"cpus_per_worker": 4}, Layout(8, 4)),
        ([2], {"cpus_per_worker": 4}, Layout(1, 4)),
        ([16], {"workers": 3, "cpus_per_worker": 2}, Layout(3, 2)),
    ],
)
def test_workers_share_the_processors_of_nodes(monkeypatch, nodes, settings, layout):
    assert connection_to(monkeypatch, nodes, **settings).layout() == layout


def test_a_cluster_without_processors_is_one_error(monkeypatch):
    with pytest.raises(ClusterError, match=r"Ray on this machine has no processors.*ray start"):
        connection_to(monkeypatch, [0]).layout()


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(PluginError, match=r"distribute = 'ray' needs ray.*'tlkit\[ray\]'"):
        Connection(RayCluster())


def test_a_port_that_nobody_listens_on_is_one_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
        for ask in (Connection.ray, Connection.check):
            with pytest.raises(ClusterError, match=r"Cannot reach .*ray start --head"):
                ask(Connection(RayCluster(where)))


def test_groups_are_neighbours():
    assert groups_of([0, 1, 2, 3, 6, 8, 9], 3) == [
        range(3),
        range(3, 4),
        range(6, 7),
        range(8, 10),
    ]


def test_the_desk_gives_each_worker_what_it_asked_for_and_counts_deaths():
    async def use():
        desk = Desk()
        asked = [asyncio.create_task(desk.take(number)) for number in (7, 8)]
        wishes = [await desk.next() for _ in asked]
        for ticket, number in reversed(wishes):
            await desk.give(ticket, [f"images of {number}"])
        assert [await task for task in asked] == [["images of 7"], ["images of 8"]]
        await desk.give(0, ["too late"])
        assert [await desk.begin(7), await desk.begin(7), await desk.begin(8)] == [1, 2, 1]
        await desk.end(7)
        assert await desk.begin(7) == 1
        await desk.close()
        assert await desk.next() is None

    asyncio.run(use())
