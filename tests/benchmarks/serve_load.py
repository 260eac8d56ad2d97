"""Load on ``tlkit serve``, over loopback: throughput and latency beside those of the bare engine.

    python tests/benchmarks/serve_load.py RUN [--engine auto] [--seconds 5] [--clients 1,8,64]

The server is one process and the clients another, which share the machine's cores: what the
clients cost is lost to the server. The bare engine is measured in this process while the server is
idle: the same pictures, decoded and resized before, in batches of 1 and of 32, in as many threads
as the server uses. Seconds of the processor (of all threads of the server, the engine included) say
more than the clock where other work shares the machine. Every row ends after a bounded time and
number of requests.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
from PIL import Image

from tlkit import Classifier
from tlkit.images import read_picture
from tlkit.runtime import number_of_cores, processor_name, require_tensorflow_backend
from tlkit.thumbnails import load

MOST_REQUESTS = 20_000
WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", default="1,8,64")
    parser.add_argument("--as-client", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_client:
        found = asyncio.run(load_server(given.run, given.as_client, given.clients, given.seconds))
        print(json.dumps(found))
        return
    print(f"{processor_name()}, {number_of_cores()} cores, engine {given.engine}")
    command = [sys.executable, "-m", "tlkit", "serve", str(given.run), "--port", "0", "--json"]
    server = subprocess.Popen([*command, "--engine", given.engine], stdout=subprocess.PIPE)
    try:
        url = read_url(server)
        pictures = [item.content for item in load(given.run)[:64]]
        print(
            "| | pictures/s | p50 ms | p99 ms | CPU ms/picture | batch |\n|---|---|---|---|---|---|"
        )
        require_tensorflow_backend(one_thread_per_operation=True)
        classifier = Classifier.open(given.run, given.engine)
        for batch in (1, 32):
            for threads in sorted({1, number_of_cores()}):
                show(
                    f"engine, batches of {batch}, {threads} thread{'s' * (threads > 1)}",
                    run_engine(classifier, pictures, batch, threads, given.seconds),
                )
        for kind in ("raw", "webp", "jpeg"):
            for clients in given.clients.split(","):
                call = [sys.executable, __file__, str(given.run), "--seconds", str(given.seconds)]
                call += ["--as-client", f"{url} {kind}", "--clients", clients]
                found = json.loads(
                    subprocess.run(call, check=True, capture_output=True, text=True).stdout
                )
                name = f"{clients} client{'s' * (clients != '1')}"
                show(f"{NAMES[kind]}, {name}", found)
    finally:
        server.terminate()
        server.wait(30)


NAMES = {
    "raw": "/infer, 32 x 32 pixels as binary UINT8",
    "webp": "/predict, 32 x 32 WebP",
    "jpeg": "/predict, 320 x 320 JPEG",
}


def read_url(server: subprocess.Popen[bytes]) -> str:
    lines = []
    assert server.stdout is not None
    for line in server.stdout:
        lines.append(line)
        if line.startswith(b"}"):
            return json.loads(b"".join(lines))["url"]
    raise SystemExit("the server did not start")


def run_engine(
    classifier: Classifier, contents: list[bytes], batch: int, threads: int, seconds: float
) -> dict[str, float]:
    pixels = classifier.stack([read_picture(content) for content in contents])
    batches = [np.ascontiguousarray(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    classifier.probabilities(batches[0])
    end = time.perf_counter() + seconds

    def work(first: int) -> list[float]:
        took = []
        while time.perf_counter() < end:
            began = time.perf_counter()
            classifier.probabilities(batches[(first + len(took)) % len(batches)])
            took.append(time.perf_counter() - began)
        return took

    began, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        took = [item for part in pool.map(work, range(threads)) for item in part]
    used = time.process_time() - used
    return summary(took, time.perf_counter() - began, used, batch)


def summary(took: list[float], seconds: float, used: float, batch: float) -> dict[str, float]:
    p50, p99 = 1000 * np.percentile(took, [50, 99])
    pictures = len(took) * (batch if isinstance(batch, int) else 1)
    return {
        "rate": pictures / seconds,
        "p50": float(p50),
        "p99": float(p99),
        "cpu": 1000 * used / pictures,
        "batch": batch,
    }


def show(name: str, found: dict[str, float]) -> None:
    cells = [f"{found['rate']:.0f}", *(f"{found[key]:.1f}" for key in ("p50", "p99", "cpu"))]
    print(f"| {name} | {' | '.join(cells)} | {found['batch']:.3g} |", flush=True)


def counters(url: str) -> tuple[float, float, float]:
    """Return the server's processor seconds, batches and pictures so far."""
    with urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    names = ("tlkit_process_cpu_seconds", "tlkit_batch_pictures_count", "tlkit_batch_pictures_sum")
    first, second, third = (float(values[name]) for name in names)
    return first, second, third


async def load_server(run: Path, target: str, clients: str, seconds: float) -> dict[str, float]:
    url, kind = target.split()
    place = urlsplit(url)
    requests = [encode(item.content, kind, place.netloc, run) for item in load(run)[:64]]
    took: list[float] = []

    async def client(number: int, end: float, into: list[float], most: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.perf_counter() < end and len(into) < most:
            began = time.perf_counter()
            writer.write(requests[(number + len(into)) % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(size))
            into.append(time.perf_counter() - began)
        writer.close()

    now = time.perf_counter()
    await asyncio.gather(*(client(n, now + 5, [], WARM_UP) for n in range(int(clients))))
    before = counters(url)
    began = time.perf_counter()
    end = began + seconds
    await asyncio.gather(*(client(n, end, took, MOST_REQUESTS) for n in range(int(clients))))
    lasted = time.perf_counter() - began
    used, batches, pictures = np.subtract(counters(url), before)
    return summary(took, lasted, float(used), float(pictures / batches))


def encode(content: bytes, kind: str, host: str, run: Path) -> bytes:
    headers = [f"Host: {host}"]
    if kind == "raw":
        pixels = read_picture(content)
        tensor = {"name": "images", "shape": [1, *pixels.shape], "datatype": "UINT8"}
        tensor["parameters"] = {"binary_data_size": pixels.nbytes}
        document = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
        headers.append(f"Inference-Header-Content-Length: {len(document)}")
        body = document + pixels.tobytes()
        from tlkit import load_run
        from tlkit.serve.settings import address_name

        path = f"/v2/models/{address_name(load_run(run).info.name)}/infer"
    else:
        path, body = "/predict", content
        if kind == "jpeg":
            file = io.BytesIO()
            Image.open(io.BytesIO(content)).resize((320, 320)).save(file, "JPEG")
            body = file.getvalue()
    headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body


if __name__ == "__main__":
    main()
