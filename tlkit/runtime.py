"""Preparing the process for Keras on TensorFlow."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from tlkit.errors import TlkitError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory instead of giving it back to the system after each batch.

    TensorFlow allocates and frees every intermediate tensor, and large ones go through mmap, so
    each batch pays for fresh pages. Where page faults are dear (virtual machines) this costs a
    third of the throughput. It belongs at the start of a process, before threads exist, so the
    command line calls it and the library does not. See mallopt(3).

    Returns:
        Whether the process runs on glibc and took the settings.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {
        _M_ARENA_MAX: 1,
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: 2**31 - 1,
        _M_TOP_PAD: 256 * 2**20,
    }
    return all([mallopt(key, value) for key, value in settings.items()])


def number_of_cores() -> int:
    """Return how many processors this process may use, 1 or more."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def runs_one_thread_per_operation() -> bool:
    """Return whether TensorFlow was started with one thread for each operation."""
    import tensorflow as tf

    return bool(tf.config.threading.get_intra_op_parallelism_threads() == 1)


def require_tensorflow_backend(
    *, one_thread_per_operation: bool = False, join: Callable[[], Any] | None = None
) -> None:
    """Import Keras and make sure that it runs on TensorFlow.

    Args:
        one_thread_per_operation: Start TensorFlow with a single thread for each operation. Several
            operations still run at once, which is faster for a frozen backbone, whose batches
            come from several threads, and for its head; and slower for fine-tuning (by 12 to 37 %
            with MobileNetV2 on two cores). It stays for the life of the process, and does nothing
            if TensorFlow has been imported already.
        join: Called before TensorFlow computes anything, to join other machines.

    Raises:
        TlkitError: If Keras is set to another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "tensorflow" not in sys.modules:
        with held_back_stderr():
            import tensorflow as tf

            if one_thread_per_operation:
                tf.config.threading.set_intra_op_parallelism_threads(1)
            if join is None:
                tf.config.list_logical_devices()
    if join is not None:
        join()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise TlkitError(
            f"Keras runs on '{keras.backend.backend()}', and tlkit needs 'tensorflow'. Set the "
            f"environment variable KERAS_BACKEND=tensorflow, or change keras.json, and start again."
        )


@contextmanager
def no_talk_of_retracing() -> Iterator[None]:
    """Hold back a warning of TensorFlow: each model is traced once, and several are no mistake."""

    def passes(record: logging.LogRecord) -> bool:
        return "tf.function retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back what C++ writes to standard error in the block; show it only if that raises.

    TensorFlow's first lines (missing CUDA, instruction sets) ignore TF_CPP_MIN_LOG_LEVEL, as they
    are written before the logging library is set up.
    """
    try:
        sys.stderr.flush()
        original = os.dup(2)
    except (OSError, AttributeError, ValueError):  # no standard error, as in some notebooks
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def environment(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions and the machine that a run is made with.

    Args:
        modules: Modules whose distributions are listed too, such as those of the plugins.
    """
    found = {"python": platform.python_version()}
    packages = ["tlkit", "tensorflow", "keras", "numpy", "scikit-learn", "openvino"]
    others = {module.partition(".")[0] for module in modules} - {"tlkit", "sklearn"}
    if others:
        owners = distributions_of_packages()
        packages += sorted({name for module in others for name in owners.get(module, ())})
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # TensorFlow has several distributions, such as tensorflow-cpu
            continue
    found["platform"] = platform.platform()
    found["processor"] = processor_name()
    found["cpu_count"] = str(os.cpu_count())
    return found


def distributions_of_packages() -> Mapping[str, list[str]]:
    """Return what ``packages_distributions()`` does, which reads the metadata of all packages.

    That takes a second where many are installed, so it is read anew only after ``sys.path`` or one
    of its folders has changed, as an installation changes them.
    """
    return _distributions_at(tuple((folder, _changed(folder)) for folder in sys.path))


@functools.lru_cache(maxsize=1)
def _distributions_at(_: tuple[tuple[str, int | None], ...]) -> Mapping[str, list[str]]:
    return packages_distributions()


def _changed(folder: str) -> int | None:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return None


def processor_name() -> str:
    """Return the processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def gains_from_bfloat16() -> bool:
    """Return whether training in bfloat16 is faster here: on GPUs of compute capability 8 or more.

    On a CPU with AVX-512 BF16 instructions MobileNetV2 trained at 0.6 times the speed of float32
    (``docs/how-to/fine-tuning.md``).
    """
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    found = [tf.config.experimental.get_device_details(device) for device in devices]
    return bool(found) and all(item.get("compute_capability", (0,))[0] >= 8 for item in found)
