import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from tlkit import PluginError
from tlkit.global_state import GlobalState
from tlkit.plugin_calls import kept_state

CHANGES = {
    "Keras' floatx": lambda: keras.config.set_floatx("float64"),
    "Keras' dtype policy": lambda: keras.config.set_dtype_policy("mixed_bfloat16"),
    "Keras' image data format": lambda: keras.config.set_image_data_format("channels_first"),
    "TensorFlow's run_functions_eagerly": lambda: tf.config.run_functions_eagerly(True),
    "TensorFlow's determinism": tf.config.experimental.enable_op_determinism,
    "the seed of Python's random module": lambda: random.seed(1),
    "the seed of NumPy's global generator": lambda: np.random.seed(1),
    "NumPy's handling of floating-point errors": lambda: np.seterr(all="raise"),
    "the root logger": lambda: logging.getLogger().addHandler(logging.NullHandler()),
    "the filters of all warnings": lambda: warnings.simplefilter("error"),
    "the working directory": lambda: os.chdir(os.sep),
    "the handlers of signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


@pytest.mark.parametrize(("what", "change"), CHANGES.items(), ids=CHANGES)
def test_a_change_is_put_back_and_named(what, change):
    if what == "TensorFlow's determinism":
        keras.utils.set_random_seed(0)
    # pytest's own filters are back after each test, in any case.
    state = GlobalState()
    change()
    assert state.put_back() == ([what], [])
    assert GlobalState().put_back() == ([], [])
    assert state.put_back() == ([], [])


def test_the_values_are_those_of_before():
    folder, handlers = Path.cwd(), list(logging.getLogger().handlers)
    with kept_state("It", lambda text: None):
        for change in CHANGES.values():
            change()
    assert Path.cwd() == folder
    assert logging.getLogger().handlers == handlers
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert not tf.config.functions_run_eagerly()
    assert not tensorflow_config.is_op_determinism_enabled()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    assert np.geterr()["over"] == "warn"


def draw_little():
    random.random()
    np.random.rand(2)


def draw_much():
    random.getrandbits(32 * 100_000)
    np.random.bytes(400_000)


def warn_of_one_module():
    warnings.filterwarnings("ignore", module="somewhere")
    warnings.filterwarnings("ignore", message="one of ours")


@pytest.mark.parametrize("change", [lambda: None, draw_little, draw_much, warn_of_one_module])
def test_what_harms_nobody_is_left_alone(change):
    state = GlobalState()
    change()
    drawn = random.getstate()
    assert state.put_back() == ([], [])
    assert random.getstate() == drawn


def test_a_filter_of_ones_own_survives():
    with warnings.catch_warnings():
        state = GlobalState()
        warnings.filterwarnings("error", message="mine")
        warnings.simplefilter("ignore")
        assert state.put_back() == (["the filters of all warnings"], [])
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)


def test_it_is_told_to_pythons_warnings_outside_of_a_run():
    told = r"^It changed the working directory\. That was put back\.$"
    with pytest.warns(RuntimeWarning, match=told), kept_state("It"):
        os.chdir(os.sep)


def test_what_cannot_be_put_back_is_an_error():
    # Python sets signals in the main thread alone, so that this one cannot undo it.
    caught = []

    def run():
        try:
            with kept_state("It"):
                changed.set()
                go_on.wait(10)
        except PluginError as err:
            caught.append(str(err))

    changed, go_on, before = threading.Event(), threading.Event(), signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    changed.wait(10)
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        go_on.set()
        thread.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught == [
        "It changed what cannot be put back: the handlers of signals. Leave it out, and start "
        "again."
    ]


def test_a_deleted_working_directory_is_survived(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    state = GlobalState()
    folder.rmdir()
    assert state.put_back() == ([], [])


@pytest.mark.parametrize(
    ("keras_json", "change", "found"),
    [
        ("", "pass", "[]"),
        ('{"floatx": "float64"}', "pass", "[]"),
        ("", "keras.config.set_dtype_policy('float16')", '["Keras\' dtype policy"]'),
        ("", "keras.config.set_floatx('float16')", '["Keras\' floatx"]'),
        ("", "import tensorflow as tf; tf.config.run_functions_eagerly(True)", "run_functions"),
        ("", "import tensorflow as tf; tf.compat.v1.disable_eager_execution()", "eager execution"),
    ],
)
def test_a_plugin_that_is_the_first_to_import_keras(tmp_path, keras_json, change, found):
    (tmp_path / "keras.json").write_text(keras_json)
    code = (
        "import sys\n"
        "from tlkit.global_state import GlobalState\n"
        "state = GlobalState()\n"
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)\n"
        f"import keras; {change}\n"
        "print(state.put_back())\n"
        "assert keras.config.dtype_policy().name == keras.config.floatx()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert found in done.stdout
    assert done.stdout.endswith("[])\n")
