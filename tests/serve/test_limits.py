"""Who and what is refused, while others are served."""

import contextlib
import json
import select
import socket
import threading
import time

import pytest

from tests.serve.conftest import TOKEN, encode, running
from tlkit.serve.guard import HEADERS

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


def read_all(connection):
    """Return what comes until the other side closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            found += data
    return found


def read_until(connection, end):
    found = b""
    while end not in found:
        data = connection.recv(65536)
        assert data, found
        found += data
    return found


def wait_until(condition):
    """What follows a response may come a moment after it."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it did not come")


def status_of(response):
    return int(response.split(b" ", 2)[1]) if response else None


def test_a_body_that_is_announced_too_large_is_not_read(serve):
    run = serve(max_body_mb=0.1)
    with run.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100001\r\n\r\n")
        response = connection.recv(65536)
    assert status_of(response) == 413
    assert run.metric("tlkit_body_bytes") == 0


def test_a_body_without_length_is_stopped_when_it_is_too_large(serve, images):
    run = serve(max_body_mb=0.1)
    with run.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"%x\r\n%s\r\n" % (20_000, bytes(20_000))
        for _ in range(6):
            connection.sendall(chunk)
        response = read_until(connection, b"}")
        # The rest is thrown away, and the connection can be used again.
        connection.sendall(
            chunk + b"0\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        again = read_until(connection, b"}")
    assert status_of(response) == 413
    assert b'{"live":true}' in again
    assert run.post("/predict", encode(images[0]))[0] == 200


def test_all_bodies_together_have_a_limit(serve, images):
    run = serve(max_body_mb=0.1, timeout=5)
    connections = [run.connect() for _ in range(17)]
    for connection in connections:
        connection.sendall(HEAD + b"Content-Length: 99999\r\n\r\n" + bytes(99_000))
    ready, _, _ = select.select(connections, [], [], 10)
    assert [status_of(connection.recv(65536)) for connection in ready] == [503]
    for connection in connections:
        connection.close()
    wait_until(lambda: run.metric("tlkit_body_bytes") == 0)
    assert run.post("/predict", encode(images[0]))[0] == 200


def test_slow_senders_are_cut_off_while_others_are_served(serve, images):
    run = serve(timeout=1)
    slow = {
        "says nothing": b"",
        "half a head": HEAD,
        "half a body": HEAD + b"Content-Length: 1000\r\n\r\nabc",
        "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nab",
        "half a form": HEAD
        + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99\r\n\r\n--b\r\n",
        "a body that nobody reads": b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 1000\r\n\r\nabc",
    }
    found = {}
    stop = threading.Event()

    def trickle(name):
        with run.connect() as connection:
            connection.sendall(slow[name])
            # One byte now and then keeps most clocks from running out.
            while not select.select([connection], [], [], 0.2)[0] and not stop.is_set():
                with contextlib.suppress(OSError):
                    connection.sendall(b"X" if slow[name] else b"")
            found[name] = status_of(read_all(connection))

    threads = [threading.Thread(target=trickle, args=(name,)) for name in slow]
    for thread in threads:
        thread.start()
    served = []
    while any(thread.is_alive() for thread in threads):
        assert run.get("/v2/models/tiny")[0] == 200
        served.append(run.post("/predict", encode(images[0]))[0])
    stop.set()
    # On a busy machine a second may be too short for some.
    assert 200 in served
    assert found.pop("a body that nobody reads") == 200
    assert found == dict.fromkeys(found, 408)
    wait_until(lambda: run.metric("tlkit_connections") == 0)


def test_a_reader_who_does_not_read_is_cut_off(serve):
    run = serve(timeout=1)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((run.host, run.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(request * 100)
        wait_until(lambda: run.metric("tlkit_connections") == 0)


def test_many_silent_connections_do_not_shut_others_out(serve, images):
    run = serve(connections=20)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(run.connect()) for _ in range(60)]
        for connection in silent[::2]:
            connection.sendall(HEAD)
        assert run.post("/predict", encode(images[0]))[0] == 200
        assert run.metric("tlkit_connections") <= 21
        # The first ones had to go.
        assert status_of(read_all(silent[0])) == 503


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused(served, request_):
    with served.connect() as connection:
        with contextlib.suppress(OSError):  # the other side may have seen enough
            connection.sendall(request_)
            connection.shutdown(socket.SHUT_WR)
        assert status_of(read_all(connection)) in (400, 431)
    assert served.get("/v2/health/live")[0] == 200


def test_compressed_bodies_are_refused(served):
    status, found = served.post("/predict", b"x", **{"Content-Encoding": "gzip"})
    assert status == 415
    assert "Compressed" in found["error"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "localhost.evil.example", "192.0.2.1"]
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(served, host):
    assert served.get("/v2", Host=host)[0] == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "127.0.0.2", "[::1]", "[::1]:80"]
)
def test_names_of_this_machine_are_not(served, host):
    assert served.get("/v2", Host=host)[0] == 200


def test_where_others_may_come_their_names_are_not_known(serve):
    assert serve(loopback=False).get("/v2", Host="pictures.example")[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_may_send_nothing(served, images, site):
    headers = {"Sec-Fetch-Site": site, "Origin": "https://evil.example"}
    status, headers, _ = served.call("POST", "/predict", encode(images[0]), headers)
    assert status == 403
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "HOST", "http://", "x://"]
)
def test_an_origin_that_is_not_this_service_is_refused(served, images, origin):
    # Browsers send no Sec-Fetch-Site to plain HTTP at another machine.
    origin = origin.replace("HOST", f"{served.host}:{served.port}")
    picture = encode(images[0])
    for site in ({}, {"Sec-Fetch-Site": "none"}):
        status, found = served.post("/predict", picture, Origin=origin, **site)
        assert (status, "The header Origin is" in found["error"]) == (403, True)
    assert served.get("/v2", Origin=origin)[0] == 403


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("HTTP://Pictures.example", "pictures.EXAMPLE"),
        ("http://pictures.example", "pictures.example:80"),
        ("https://pictures.example", "pictures.example:443"),
        ("http://[::1]:80", "[::1]"),
    ],
)
def test_the_origin_of_its_own_page_is_not(serve_to_others, images, origin, host):
    status, _ = serve_to_others.post("/predict", encode(images[0]), Origin=origin, Host=host)
    assert status == 200


@pytest.fixture(scope="module")
def serve_to_others(classifier):
    with running(classifier, loopback=False) as run:
        yield run


def test_where_a_proxy_changes_the_host_the_browser_knows_better(served, images):
    headers = {"Origin": "https://pictures.example", "Sec-Fetch-Site": "same-origin"}
    assert served.post("/predict", encode(images[0]), **headers)[0] == 200


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/health/ready", "/metrics"])
def test_head_is_get_without_the_body(serve, path):
    run = serve()
    status, headers, body = run.call("HEAD", path)
    assert (status, body) == (200, b"")
    assert headers["content-type"] == run.call("GET", path)[1]["content-type"]
    assert run.call("HEAD", "/predict")[0] == 405
    assert run.call("HEAD", "/nothing")[0] == 404
    text = run.service.metrics.text().decode()
    assert f'tlkit_requests_total{{endpoint="{path}",method="HEAD",status="200"}} 1.0' in text


def test_the_token(serve, images):
    run = serve(token=TOKEN)
    right = {"Authorization": f"Bearer {TOKEN}"}
    picture = encode(images[0])
    for headers in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer "},
    ):
        for path in ("/v2", "/metrics", "/openapi.json", "/v2/models/tiny", "/nothing"):
            status, answer, _ = run.call("GET", path, headers=headers)
            assert (status, answer["www-authenticate"]) == (401, "Bearer")
        assert run.call("POST", "/predict", picture, headers)[0] == 401
        assert run.call("HEAD", "/v2", headers=headers)[0] == 401
    for path in ("/v2/health/live", "/v2/health/ready", "/", "/page.js", "/page.css"):
        assert run.call("GET", path)[0] == 200
    assert run.get("/v2", **right)[0] == 200
    status, document = run.get("/openapi.json", **right)
    assert status == 200
    assert document["paths"]["/predict"]["post"]["security"] == [{"token": []}]
    assert run.post("/predict", picture, **right)[0] == 200
    assert TOKEN not in repr(run.service.settings)


def test_every_response_has_the_headers_that_protect(served):
    for path in ("/", "/v2", "/nothing", "/metrics"):
        _, headers, _ = served.call("GET", path)
        assert {name: headers[name.lower()] for name in HEADERS} == HEADERS
    _, headers, _ = served.call("GET", "/v2", headers={"Host": "evil.example"})
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS


def test_a_full_queue_is_told_and_empties(serve, images, monkeypatch):
    run = serve(max_batch=1)  # so that there is room for 8 pictures
    go_on = threading.Event()
    answer = run.service.classifier.probabilities

    def wait(pixels):
        go_on.wait(20)
        return answer(pixels)

    monkeypatch.setattr(run.service.classifier, "probabilities", wait)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(run.post("/predict", encode(images[0]))[0]))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: run.metric("tlkit_taken_pictures") == 8)
    status, headers, body = run.call("POST", "/predict", encode(images[0]))
    assert (status, headers["retry-after"]) == (503, "1")
    assert "8 pictures" in json.loads(body)["error"]
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [200] * 8
    assert run.post("/predict", encode(images[0]))[0] == 200


def test_an_answer_that_takes_too_long_is_given_up(serve, images, monkeypatch):
    run = serve(timeout=0.2)
    go_on = threading.Event()
    monkeypatch.setattr(run.service.classifier, "probabilities", lambda pixels: go_on.wait(20))
    status, found = run.post("/predict", encode(images[0]))
    go_on.set()
    assert status == 503
    assert "0.2 seconds" in found["error"]


def test_an_error_inside_is_logged_and_not_shown(serve, images, monkeypatch, caplog):
    run = serve()

    def fail(pixels):
        raise RuntimeError("secret")

    monkeypatch.setattr(run.service.classifier, "probabilities", fail)
    status, found = run.post("/predict", encode(images[0]))
    assert status == 500
    assert "secret" not in found["error"]
    wait_until(lambda: "secret" in caplog.text)


def test_metrics(serve, images):
    run = serve()
    for path, status in (("/predict", 200), ("/predict?top=0", 400), ("/x/y", 405)):
        assert run.post(path, encode(images[0]))[0] in (status, 404)
    status, headers, body = run.call("GET", "/metrics")
    text = body.decode()
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    for line in (
        'tlkit_requests_total{endpoint="/predict",method="POST",status="200"} 1.0',
        'tlkit_requests_total{endpoint="/predict",method="POST",status="400"} 1.0',
        'tlkit_requests_total{endpoint="other",method="any",status="404"} 1.0',
        'tlkit_request_seconds_count{endpoint="/predict"} 2.0',
        "tlkit_batch_pictures_count 1.0",
        "tlkit_queue_pictures 0.0",
        "tlkit_connections 1.0",
        'tlkit_model_info{classes="3",engine="tensorflow",name="tiny",run="run"} 1.0',
    ):
        assert line in text, text
