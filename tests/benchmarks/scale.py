"""How long many images take on many machines, what that costs, and which part is the slowest.

``plan`` computes it from what ``single_core.py`` measured; ``simulate`` plays the same extraction
shard by shard (a discrete-event simulation, SimPy) and prints both; ``check`` compares the
simulation with what ``ray_extraction.py`` measured. Whatever is assumed and not measured is an
option with its default.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

IMAGES = (1_000_000, 100_000_000, 10_000_000_000)
MACHINES = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Costs:
    """What one image or shard takes.

    Attributes:
        compute: Processor seconds of one image: decoding, resizing, the backbone.
        digest: Processor seconds of hashing one image's file.
        head: Processor seconds of one image in one epoch of the head.
        file_bytes: Bytes of one image's file.
        feature_bytes: Bytes of one image's features.
    """

    compute: float
    digest: float
    head: float
    file_bytes: float
    feature_bytes: float

    @classmethod
    def of(cls, measured, image_size):
        """Take those of one image size out of the output of ``single_core.py``."""
        found = next(item for item in measured["extraction"] if item["image_size"] == image_size)
        seconds = found["seconds"]
        return cls(
            compute=seconds["decode"] + seconds["resize"] + seconds[found["engine"]],
            digest=seconds["digest"],
            head=measured["head_seconds"],
            file_bytes=found["file_bytes"],
            feature_bytes=found["feature_bytes"],
        )


@dataclass(frozen=True)
class Cluster:
    """What is assumed of the machines; each field is an option of the command line."""

    cores: int = 8
    gigabits: float = 5.0
    shard_images: int = 204
    dispatch_seconds: float = 0.036
    put_seconds: float = 0.1
    start_seconds: float = 60.0
    ahead: int = 2
    prefixes: int = 100
    gets_per_prefix: float = 5500.0
    disk_gigabytes_per_second: float = 1.0
    memory_gigabytes: float = 32.0
    list_bytes: float = 600.0
    epochs: int = 5
    dollars_per_core_hour: float = 0.085
    dollars_per_gigabyte_month: float = 0.023
    dollars_per_thousand_puts: float = 0.005
    dollars_per_thousand_gets: float = 0.0004

    @property
    def bytes_per_second(self):
        """The network of one machine."""
        return self.gigabits * 1e9 / 8


def stages(costs, cluster, images, machines):
    """Return the seconds of each stage of a whole run, by its name.

    Those of the extraction overlap, so that the slowest of them counts.
    """
    network = cluster.bytes_per_second
    shards = math.ceil(images / cluster.shard_images)
    moved = costs.file_bytes + costs.feature_bytes
    stored = images * costs.feature_bytes
    streamed = stored > cluster.memory_gigabytes * 1e9
    disk = cluster.disk_gigabytes_per_second * 1e9
    return {
        "digests": {
            "digests: network of one machine": images * costs.file_bytes / network,
            "digests: processor": images * costs.digest / cluster.cores,
        },
        "extraction": {
            "backbone and decoding": images * costs.compute / (machines * cluster.cores),
            "network of the workers": images * moved / (machines * network),
            "requests to the store": images / (cluster.prefixes * cluster.gets_per_prefix),
            "dispatch of shards": shards * cluster.dispatch_seconds,
        },
        "gathering": {
            "gathering: network of one machine": stored / network,
            "gathering: disk": stored / disk,
        },
        "head": {
            "head: processor": cluster.epochs * images * costs.head,
            "head: disk": cluster.epochs * stored / disk if streamed else 0.0,
        },
    }


def plan(costs, cluster, images, machines):
    """Return seconds and dollars of a run, and the name of its slowest stage."""
    slowest = {
        phase: max(parts.items(), key=lambda item: item[1])
        for phase, parts in stages(costs, cluster, images, machines).items()
    }
    seconds = {phase: time for phase, (_, time) in slowest.items()}
    total = cluster.start_seconds + sum(seconds.values())
    core_hours = (
        cluster.cores / 3600 * (total + machines * (cluster.start_seconds + seconds["extraction"]))
    )
    requests = (
        2 * images / 1000 * cluster.dollars_per_thousand_gets
        + images / cluster.shard_images / 1000 * cluster.dollars_per_thousand_puts
    )
    return {
        "seconds": total,
        "phases": seconds,
        "slowest": max(slowest.values(), key=lambda item: item[1])[0],
        "extraction": slowest["extraction"][0],
        "compute_dollars": core_hours * cluster.dollars_per_core_hour,
        "request_dollars": requests,
        "list_gigabytes": images * cluster.list_bytes / 1e9,
        "month_dollars": images * costs.feature_bytes / 1e9 * cluster.dollars_per_gigabyte_month,
    }


def simulate(compute, cluster, shards, machines, workers=None, moved=(0.0, 0.0)):
    """Play an extraction and return its seconds, without the start of the machines.

    Each machine fetches shards ahead over its network, its workers take them one at a time, share
    its cores, and write what they made over the same network. One driver hands out the shards.

    Args:
        compute: Processor seconds of one shard.
        cluster: What is assumed.
        shards: Number of shards, 1 or more.
        machines: Number of machines.
        workers: Workers on each machine; by default one for each core.
        moved: Bytes of a shard that come and that go.
    """
    import simpy

    environment = simpy.Environment()
    driver = simpy.Resource(environment, 1)
    left = [shards]
    ended = [0.0]
    workers = cluster.cores if workers is None else workers

    def transfer(link, size):
        with link.request() as turn:
            yield turn
            yield environment.timeout(size / cluster.bytes_per_second)

    def fetch(link, ready):
        while left[0]:
            left[0] -= 1
            with driver.request() as turn:
                yield turn
                yield environment.timeout(cluster.dispatch_seconds)
            yield from transfer(link, moved[0])
            yield ready.put(True)

    def work(link, cores, ready):
        while True:
            yield ready.get()
            with cores.request() as turn:
                yield turn
                yield environment.timeout(compute)
            yield from transfer(link, moved[1])
            yield environment.timeout(cluster.put_seconds)
            ended[0] = environment.now

    for _ in range(machines):
        link = simpy.Resource(environment, 1)
        cores = simpy.Resource(environment, cluster.cores)
        ready = simpy.Store(environment, capacity=max(1, workers * cluster.ahead))
        # As many fetches as shards that may wait, so that none waits for another's dispatch.
        for _ in range(workers * cluster.ahead):
            environment.process(fetch(link, ready))
        for _ in range(workers):
            environment.process(work(link, cores, ready))
    environment.run()
    return ended[0]


def check(points, cluster):
    """Yield for each measured point its seconds and those of the simulation.

    Only points of one worker set what a shard takes; those of more workers are predicted.
    """
    points = [point for point in points if point["workers"]]  # the others are without Ray
    for stand_in in sorted({point["stand_in_ms"] for point in points}):
        group = [point for point in points if point["stand_in_ms"] == stand_in]
        one = next(point for point in group if point["workers"] == 1)
        alone = one["seconds"] / one["shards"]
        # One worker's shards are dispatched while it works on the one before.
        compute = max(alone - cluster.put_seconds, 0.0)
        for point in group:
            # Stand-ins wait and need no core.
            cores = point["workers"] if stand_in else point["cores"]
            found = simulate(
                compute,
                dataclasses.replace(cluster, cores=cores),
                round(point["shards"]),
                1,
                workers=point["workers"],
            )
            yield point, found


def duration(seconds):
    """Return seconds in a unit that suits them."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def dollars(value):
    """Return dollars, with cents where there are few."""
    return f"${value:,.2f}" if value < 100 else f"${value:,.0f}"


def print_plan(costs, cluster):
    """Print Markdown tables of all numbers of images and machines: times, then costs."""
    print("| images | machines | time | digests | extraction | gathering | head | slowest part |")
    print("|" + "---|" * 8)
    plans = [
        (images, machines, plan(costs, cluster, images, machines))
        for images in IMAGES
        for machines in MACHINES
    ]
    for images, machines, found in plans:
        phases = " | ".join(duration(value) for value in found["phases"].values())
        limit = found["slowest"]
        if limit != found["extraction"]:
            limit += f"; of the extraction: {found['extraction']}"
        print(f"| {images:,} | {machines:,} | {duration(found['seconds'])} | {phases} | {limit} |")
    print(
        "\n| images | machines | machines' hours | requests | features, a month | list of files |"
    )
    print("|" + "---|" * 6)
    for images, machines, found in plans:
        money = " | ".join(
            dollars(found[f"{key}_dollars"]) for key in ("compute", "request", "month")
        )
        print(f"| {images:,} | {machines:,} | {money} | {found['list_gigabytes']:,.1f} GB |")


def print_simulation(costs, cluster, shards_each):
    """Print the simulated extraction beside the computed one."""
    print("| machines | shards | computed | simulated | ratio |")
    print("|---|---|---|---|---|")
    size = cluster.shard_images
    for machines in MACHINES:
        shards = shards_each * machines * cluster.cores
        computed = max(stages(costs, cluster, shards * size, machines)["extraction"].values())
        moved = (size * costs.file_bytes, size * costs.feature_bytes)
        found = simulate(size * costs.compute, cluster, shards, machines, moved=moved)
        print(
            f"| {machines:,} | {shards:,} | {duration(computed)} | {duration(found)} "
            f"| {found / computed:.2f} |",
            flush=True,
        )


def print_check(points, cluster):
    """Print measured and simulated seconds of each point."""
    print("| workers | stand-in | shards | measured | simulated | simulated / measured |")
    print("|---|---|---|---|---|---|")
    for point, found in check(points, cluster):
        stand_in = f"{point['stand_in_ms']:g} ms" if point["stand_in_ms"] else "no"
        print(
            f"| {point['workers']} | {stand_in} | {point['shards']:.0f} | {point['seconds']:.1f} s "
            f"| {found:.1f} s | {found / point['seconds']:.2f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("plan", "simulate", "check"))
    parser.add_argument(
        "measured",
        type=Path,
        nargs="+",
        help="JSON of single_core.py; for check, files of ray_extraction.py",
    )
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side")
    parser.add_argument("--shards-each", type=int, default=20, help="simulated shards of a core")
    for item in fields(Cluster):
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=type(item.default),
            default=item.default,
            help="%(default)s",
        )
    arguments = parser.parse_args()
    cluster = Cluster(**{item.name: getattr(arguments, item.name) for item in fields(Cluster)})
    measured = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.measured]
    if arguments.what == "check":
        print_check([point for item in measured for point in item["points"]], cluster)
        return
    costs = Costs.of(measured[0], arguments.image_size)
    if arguments.what == "plan":
        print_plan(costs, cluster)
    else:
        print_simulation(costs, cluster, arguments.shards_each)


if __name__ == "__main__":
    main()
