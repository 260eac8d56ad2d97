"""`tlkit serve` as a process: what it says, who may reach it, how it ends."""

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.serve.conftest import TOKEN, encode
from tlkit import ConfigError, PluginError, RunFolderError
from tlkit.serve import command
from tlkit.serve.refusal import ENDING
from tlkit.serve.service import Service
from tlkit.serve.settings import Settings, address_name, read_token, require_extra


def read_document(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("}"):
            return json.loads("".join(lines))
    raise AssertionError(process.stderr.read())


def get(url, data=None, token=None):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        return json.loads(answer.read())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_process_serves_until_it_is_told_to_end(tiny_run, tmp_path):
    call = [sys.executable, "-m", "tlkit", "serve", str(tiny_run.folder), "--port", "0", "--json"]
    process = subprocess.Popen(
        [*call, "--engine", "tensorflow", "--name", "colours"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TLKIT_CACHE": str(tmp_path), "TLKIT_TOKEN": TOKEN},
    )
    try:
        document = read_document(process)
        assert document["schema"] == "tlkit.serve/1"
        assert (document["model"], document["wants_token"]) == ("colours", True)
        assert document["loopback"] is True
        url = document["url"]
        picture = encode(np.full((600, 600, 3), 200, np.uint8))
        assert get(f"{url}/predict", picture, TOKEN)["model"] == "colours"
        found = []

        def ask():
            try:
                found.append(get(f"{url}/predict", picture, TOKEN)["model"])
            except urllib.error.HTTPError as err:
                found.append(err.code)
            except OSError:  # it is gone
                found.append(None)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while "tlkit_requests_total" not in metrics(url):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        for thread in threads:
            thread.join()
        # Those that were taken are answered, the others told; test_what_was_taken... knows which.
        assert len(found) == 8
        assert set(found) <= {"colours", 503, None}
        output, errors = process.communicate()
        assert output == ""
        ending, stopped = errors.splitlines()
        assert ending.startswith("Ending: what was taken is answered first")
        assert re.fullmatch(r"Stopped: \d+ requests answered\.", stopped)
        assert int(stopped.split()[1]) >= found.count("colours") + found.count(503) + 2
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_right_after_the_address_ends_a_process_in_good_order(tiny_run, tmp_path, number):
    call = [sys.executable, "-m", "tlkit", "serve", str(tiny_run.folder), "--port", "0"]
    process = subprocess.Popen(
        [*call, "--engine", "tensorflow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TLKIT_CACHE": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout.readline().startswith("Serving ")
        process.send_signal(number)
        assert process.wait(30) == 0
        errors = process.stderr.read()
        assert errors.startswith("Ending: ")
        assert errors.endswith("Stopped: 0 requests answered.\n")
    finally:
        process.kill()
        process.communicate()


def metrics(url):
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def test_what_was_taken_is_answered_before_the_end(serve, images, monkeypatch):
    run = serve()
    go_on, answer = threading.Event(), run.service.classifier.probabilities

    def wait(pixels):
        go_on.wait(20)
        return answer(pixels)

    monkeypatch.setattr(run.service.classifier, "probabilities", wait)
    found = []
    thread = threading.Thread(
        target=lambda: found.append(run.post("/predict", encode(images[0]))[0])
    )
    thread.start()
    while not run.metric("tlkit_taken_pictures"):
        time.sleep(0.01)
    run.server.handle_exit(signal.SIGTERM, None)
    told = {"ready": False, "error": ENDING}
    assert run.get("/v2/health/ready") == (503, {"live": True, **told})
    assert run.get("/v2/models/tiny/ready") == (503, {"name": "tiny", **told})
    assert run.get("/v2/health/live") == (200, {"live": True})
    status, headers, body = run.call("POST", "/predict", encode(images[0]))
    assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
    assert "is ending" in json.loads(body)["error"]
    go_on.set()
    thread.join()
    run.thread.join(20)
    assert found == [200]
    assert not run.thread.is_alive()
    with pytest.raises(OSError, match="refused"):
        run.connect()


def test_it_ends_in_good_order_though_nobody_reads_what_it_says(classifier, monkeypatch):
    stopped = []

    def fail(text):
        raise BrokenPipeError

    async def stop(service):
        stopped.append(service)

    monkeypatch.setattr("tlkit.serve.connections.say", fail)
    monkeypatch.setattr(command, "say", fail)
    monkeypatch.setattr(Service, "stop", stop)
    service = Service(classifier, Settings("tiny"))
    server = command.make_server(service)
    server.handle_exit(signal.SIGTERM, None)
    command.serve_until_told(server, socket.create_server(("127.0.0.1", 0)))
    assert stopped == [service]


def test_a_second_interrupt_ends_at_once(serve, images, monkeypatch):
    run = serve(timeout=20)
    go_on = threading.Event()
    monkeypatch.setattr(run.service.classifier, "probabilities", lambda pixels: go_on.wait(20))
    with run.connect() as connection:
        body = encode(images[0])
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        while not run.metric("tlkit_taken_pictures"):
            time.sleep(0.01)
        for _ in range(2):
            run.server.handle_exit(signal.SIGINT, None)
        run.thread.join(10)
        go_on.set()
    assert not run.thread.is_alive()


def test_how_an_interrupt_ends_the_command(classifier):
    def interrupted(times):
        listening = socket.create_server(("127.0.0.1", 0))
        server = command.make_server(Service(classifier, Settings("tiny")))
        for _ in range(times):
            server.handle_exit(signal.SIGINT, None)
        command.serve_until_told(server, listening)

    interrupted(1)
    with pytest.raises(KeyboardInterrupt, match="before everything"):
        interrupted(2)


@pytest.mark.parametrize(
    "arguments", [("--max-batch", "0"), ("--port", "70000"), ("--timeout", "0")]
)
def test_settings_that_are_not_allowed(tlkit_command, tiny_run, arguments):
    code, out, err = tlkit_command("serve", tiny_run.folder, *arguments)
    assert (code, out) == (2, "")
    assert arguments[0] in err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--name", "a/b"), "Give another one with --name"),
        (("--host", "192.0.2.1"), "Cannot listen at 192.0.2.1"),
        (("--token-file", "nothing"), "Cannot read the token from the file nothing"),
        (("--engine", "tensorflwo"), "Did you mean 'tensorflow'"),
    ],
)
def test_what_cannot_be_served_is_told(tlkit_command, tiny_run, arguments, text):
    code, out, err = tlkit_command("serve", tiny_run.folder, "--port", "0", *arguments)
    assert (code, out) == (2, "")
    assert text in err


def test_a_folder_that_is_no_run_is_told_first(tmp_path):
    with pytest.raises(RunFolderError, match="There is no run folder"):
        command.prepare(tmp_path / "nothing")


def test_a_port_that_is_taken_is_told(tiny_run):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="Address already in use\\. Give") as caught,
    ):
        command.prepare(tiny_run.folder, port=taken.getsockname()[1])
    assert str(caught.value).count("127.0.0.1") == 1


@pytest.mark.parametrize("token", [None, TOKEN])
def test_others_who_can_reach_it_are_warned_of(tlkit_command, tiny_run, monkeypatch, token):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(command, "serve_until_told", lambda server, listening: listening.close())
    if token:
        monkeypatch.setenv("TLKIT_TOKEN", token)
    call = ("serve", tiny_run.folder, "--port", "0", "--engine", "tensorflow")
    code, out, err = tlkit_command(*call, "--host", "0.0.0.0")
    assert code == 0
    assert "other machines can reach http://0.0.0.0:" in err
    assert ("--token-file" in err) is (token is None)
    assert TOKEN not in out + err
    assert ("Authorization" in out) is (token is not None)
    code, out, err = tlkit_command(*call)
    assert err == ""
    assert "http://127.0.0.1:" in out
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_tokens(tmp_path, monkeypatch, capsys):
    assert read_token(None) is None
    monkeypatch.setenv("TLKIT_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    file = tmp_path / "token"
    file.write_text("from-a-file-0123456789\n")
    file.chmod(0o600)
    assert read_token(file) == "from-a-file-0123456789"
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    assert read_token(file) == "from-a-file-0123456789"
    assert "chmod 600" in capsys.readouterr().err
    for text in ("short", "with spaces inside of it", "ü" * 20, "x" * 600):
        file.write_text(text)
        with pytest.raises(ConfigError, match="16 to 512") as caught:
            read_token(file)
        assert text not in str(caught.value)


def test_names_in_addresses():
    assert address_name("cifar10") == "cifar10"
    assert address_name("My run, 2nd/try") == "My-run-2nd-try"
    assert address_name("狗") == "model"
    for name in ("cifar10", "My-run-2nd-try", "model"):
        assert Settings(name).name == name


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_without_the_extra_one_error_says_how_to_install_it(monkeypatch, module):
    load = importlib.import_module

    def broken(name, *rest):
        if name == module:
            raise ImportError(f"No module named {name!r}")
        return load(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(PluginError, match=r"pip install 'tlkit\[serve\]'"):
        require_extra()


def test_nothing_else_imports_what_the_extra_brings():
    package = Path(command.__file__).parents[1]
    needs = re.compile(
        r"^\s*(?:import|from) (?:fastapi|starlette|uvicorn|prometheus_client|h11)\b", re.M
    )
    found = [path for path in package.rglob("*.py") if needs.search(path.read_text("utf-8"))]
    assert found
    assert {path.parent.name for path in found} == {"serve"}
