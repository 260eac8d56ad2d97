import os
import subprocess
import sys

import pytest

from tlkit import TlkitError, runtime


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_another_keras_backend_is_refused(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(TlkitError, match="KERAS_BACKEND=tensorflow"):
        runtime.require_tensorflow_backend()


def test_tensorflow_starts_without_a_word():
    done = run("from tlkit.runtime import require_tensorflow_backend as r; r()")
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_failure_to_start_shows_what_was_held_back():
    code = (
        "import os, sys\n"
        "from tlkit.runtime import held_back_stderr\n"
        "with held_back_stderr():\n"
        "    os.write(2, b'from C++')\n"
        "    raise ImportError('no library')\n"
    )
    done = run(code)
    assert "from C++" in done.stderr
    assert "ImportError: no library" in done.stderr


def test_an_interrupted_start_shows_nothing_of_it():
    code = (
        "import os, sys\n"
        "from tlkit.runtime import held_back_stderr\n"
        "try:\n"
        "    with held_back_stderr():\n"
        "        os.write(2, b'from C++')\n"
        "        raise KeyboardInterrupt\n"
        "except KeyboardInterrupt:\n"
        "    os.write(2, b'ended')\n"
    )
    assert run(code).stderr == "ended"


def test_keeping_freed_memory_works_where_glibc_is():
    done = run("from tlkit.runtime import keep_freed_memory; print(keep_freed_memory())")
    assert done.stdout.strip() in ("True", "False")


def test_the_environment_names_the_versions():
    found = runtime.environment()
    assert {"python", "tlkit", "keras", "numpy", "platform", "processor", "cpu_count"} <= set(found)
    assert "pytest" not in found
    assert runtime.environment(["tlkit.trainer", "_pytest.runner"])["pytest"] == pytest.__version__


def test_a_distribution_that_is_installed_later_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "later_module" not in runtime.distributions_of_packages()
    assert runtime.distributions_of_packages() is runtime.distributions_of_packages()
    metadata = tmp_path / "later-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text("later_module\n")
    assert runtime.environment(["later_module.plugin"])["later"] == "1.0"
