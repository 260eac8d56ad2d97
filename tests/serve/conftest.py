"""Services of a tiny run, each in a thread of the tests, behind real sockets."""

import contextlib
import http.client
import io
import json
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.tiny import make_images, make_tiny_trainer
from tlkit import Classifier, Registry
from tlkit.features import FeatureStore

pytest.importorskip("fastapi")

from tlkit.serve.command import make_server
from tlkit.serve.service import Service
from tlkit.serve.settings import Settings

TOKEN = "a-token-of-the-tests-0123456789"


class Running:
    """A service that runs, and a client of it."""

    def __init__(self, service, server, listening):
        self.service, self.server = service, server
        self.host, self.port = listening.getsockname()[:2]
        self.url = f"http://{self.host}:{self.port}"
        self.thread = threading.Thread(target=server.run, args=([listening],), daemon=True)

    def call(self, method, path, body=None, headers=None):
        """Return status, headers in lower case, and body of one request."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()

    def get(self, path, **headers):
        status, _, body = self.call("GET", path, headers=headers)
        return status, json.loads(body)

    def post(self, path, body, **headers):
        status, _, answer = self.call("POST", path, body, headers)
        return status, json.loads(answer)

    def connect(self):
        return socket.create_connection((self.host, self.port), timeout=20)

    def metric(self, name):
        """Return the sum of a metric over all labels."""
        text = self.service.metrics.text().decode()
        found = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
        return sum(float(value) for _, _, value in found)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    return make_tiny_trainer(tmp_path_factory.mktemp("serve")).run()


@pytest.fixture(scope="session")
def classifier(tiny_run, tmp_path_factory):
    return Classifier.open(
        tiny_run.folder,
        "tensorflow",
        registry=Registry(entry_points=False),
        store=FeatureStore(tmp_path_factory.mktemp("store")),
    )


@contextlib.contextmanager
def running(classifier, **settings):
    service = Service(classifier, Settings(**{"name": "tiny", **settings}))
    listening = socket.create_server(("127.0.0.1", 0))
    run = Running(service, make_server(service), listening)
    run.thread.start()
    while not run.server.started:
        assert run.thread.is_alive()
        time.sleep(0.01)
    try:
        yield run
    finally:
        run.server.should_exit = True
        # A request under way has until its own timeout to end.
        run.thread.join(run.service.settings.timeout + 6)
        assert not run.thread.is_alive()


@pytest.fixture
def serve(classifier):
    """Start services; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(classifier, **settings))


@pytest.fixture(scope="session")
def served(classifier):
    """One service that the tests share, with the limits that users have."""
    with running(classifier) as run:
        yield run
        # What a test left open is not waited for; that it is, has tests of its own.
        run.server.force_exit = True


@pytest.fixture(scope="session")
def images():
    return make_images(9, seed=8)[0]


def encode(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def expected(classifier, images):
    return classifier.probabilities(np.asarray(classifier.stack(images)))
