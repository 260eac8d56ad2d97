"""Fixtures for all tests: no user cache, no plugins that happen to be installed."""

from __future__ import annotations

import gc
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("tlkit", deadline=None)
settings.load_profile("tlkit")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and their children too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


_modules_at_freeze = 0
_KERAS_HOME = os.environ.get("KERAS_HOME")


def pytest_runtest_setup(item):
    """Keep the garbage collector from going through TensorFlow's objects at each of its rounds.

    Those are a million, and stay. What is alive at this time and is left in a cycle later is never
    freed, so it is done only after many modules were imported.
    """
    global _modules_at_freeze
    if "tensorflow" in sys.modules and len(sys.modules) > _modules_at_freeze + 300:
        gc.collect()
        gc.freeze()
        _modules_at_freeze = len(sys.modules)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _speed_is_measured_for_a_moment(monkeypatch):
    """Do not let each run measure for a third of a second what the few images will not need."""
    monkeypatch.setattr("tlkit.engine_choice.MEASURED_SECONDS", 0.03)


@pytest.fixture
def real_data_home(monkeypatch) -> Path:
    """The folder with real CIFAR-10 and real weights; Keras finds the weights there."""
    home = os.environ.get("TLKIT_TEST_HOME")
    if not home:
        pytest.skip("TLKIT_TEST_HOME is not set: no real CIFAR-10 and no real weights")
    monkeypatch.setenv("KERAS_HOME", str(Path(home) / "keras"))
    return Path(home)


@pytest.fixture
def tlkit_command(capsys, tmp_path, monkeypatch):
    """Calls the command line in an empty folder: exit code, standard output, standard error."""
    from tlkit import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            cli.main([str(item) for item in arguments])
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return call


@pytest.fixture
def call_line(tmp_path, monkeypatch, capfd):
    """Runs a line of a README where the test is: standard output, standard error.

    A plain call of ``tlkit`` is answered in this process, which saves the start of TensorFlow,
    unless the test has set ``KERAS_HOME``; all else goes to a shell in which ``tlkit`` and
    ``python`` are those of the tests.
    """
    from tlkit import cli

    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("tlkit", "-m tlkit "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("tlkit.runtime.keep_freed_memory", lambda: True)

    def call(line):
        first, *words = shlex.split(line)
        capfd.readouterr()
        # Keras reads where its weights lie once, when it is imported.
        elsewhere = os.environ.get("KERAS_HOME") != _KERAS_HOME
        if first != "tlkit" or elsewhere or re.search(r"[|&;<>$`]", line):
            code = subprocess.run(["bash", "-c", line]).returncode
        else:
            with pytest.raises(SystemExit) as caught:
                cli.main([name for word in words for name in _names(word)])
            code = caught.value.code or 0
        output = capfd.readouterr()
        assert code == 0, f"{line}\n{output.out}{output.err}"
        return output

    return call


def _names(word):
    """Return what a shell makes of a word: the paths that fit, or the word as it is."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@pytest.fixture(scope="session")
def _s3_server():
    from tests.s3_server import running_server

    with running_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(_s3_server, monkeypatch):
    """A fresh bucket of a real S3 server on this machine; the environment leads to it."""
    from tests.s3_server import make_bucket

    return make_bucket(_s3_server, monkeypatch)


@pytest.fixture
def reads(monkeypatch):
    """The names of objects that were read from object stores; nothing is remembered from before."""
    from tlkit import stored_path
    from tlkit.object_store import ObjectStore

    names = []
    real = ObjectStore.read

    def read(self, name="", *args):
        names.append(name)
        return real(self, name, *args)

    monkeypatch.setattr(ObjectStore, "read", read)
    monkeypatch.setattr(stored_path, "_kept", stored_path._Kept())
    return names
