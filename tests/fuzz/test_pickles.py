"""Pickles, archives and arrays from outside: data, or one TlkitError, and nothing that runs."""

from __future__ import annotations

import functools
import io
import pickle
import tarfile

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.harness import write_files
from tests.fuzz.mutations import (
    CHANGES_OF_BYTES,
    CHANGES_OF_OPCODES,
    CHANGES_OF_VALUES,
    change_bytes,
    change_opcodes,
    change_values,
    pickled,
)
from tlkit import Sealed, restricted_load
from tlkit.builtin.datasets.cifar import CIFAR10, CIFAR100
from tlkit.builtin.datasets.cifar_pickle import load


class Shape(Sealed):
    def __call__(self, *arguments):
        return list(arguments)


ALLOWED = {("shapes", "Shape"): Shape(), ("_codecs", "encode"): Shape()}
PIXELS = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, 3072)
BATCH = {b"data": PIXELS, b"labels": [0, 1], b"batch_label": b"x", b"filenames": [b"a", b"b"]}
META = {b"label_names": [b"cat", b"dog"], b"num_cases_per_batch": 2}
VALUES = (
    BATCH,
    META,
    {b"data": PIXELS.astype(">u2"), b"labels": np.array([0, 1])},
    {"data": PIXELS.astype("f4"), "labels": (0, 1)},
    [1, 2.5, None, True, "text", b"bytes", {"a": {"b": (1, (2, 3))}}, 10**40],
)
PROTOCOLS = st.integers(0, 5)
PICKLES = st.one_of(
    st.builds(
        lambda value, protocol, opcodes, changes: change_bytes(
            change_opcodes(pickled(value, protocol), opcodes), changes
        ),
        st.sampled_from(VALUES),
        PROTOCOLS,
        CHANGES_OF_OPCODES,
        st.one_of(st.just([]), CHANGES_OF_BYTES),
    ),
    st.builds(
        lambda value, changes, protocol: pickled(change_values(value, changes), protocol),
        st.sampled_from(VALUES),
        CHANGES_OF_VALUES,
        PROTOCOLS,
    ),
    st.binary(max_size=30).map(lambda data: data + b"."),
)


def test_a_pickle_is_data_or_an_error(fuzz):
    def read(data):
        found, end = restricted_load(data, ALLOWED, encoding="bytes")
        assert end <= len(data)
        assert type(found).__module__ in ("builtins", Shape.__module__)

    fuzz("restricted unpickler", PICKLES, read)


def test_a_pickle_of_cifar_is_a_dictionary_or_an_error(fuzz):
    def read(data):
        found = load(data, "some")
        assert all(isinstance(key, bytes) for key in found)

    fuzz("pickles of CIFAR", PICKLES, read)


def packed(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@functools.cache
def good_files(kind: type[CIFAR10]) -> dict[str, bytes]:
    meta = pickle.dumps({kind.names_key: [b"cat", b"dog"]}, 2)
    batch = pickle.dumps({b"data": PIXELS, kind.label_key: [0, 1]}, 2)
    return {kind.meta_file: meta} | dict.fromkeys((*kind.train_files, *kind.test_files), batch)


@st.composite
def archives(draw):
    kind = draw(st.sampled_from((CIFAR10, CIFAR100)))
    files = dict(good_files(kind))
    if draw(st.booleans()):
        files[draw(st.sampled_from(sorted(files)))] = draw(PICKLES)
    if draw(st.integers(0, 5)) == 0:
        del files[draw(st.sampled_from(sorted(files)))]
    mode = draw(st.sampled_from(("", "gz")))
    content = packed({f"{kind.folder}/{name}": data for name, data in files.items()}, mode)
    return kind, files, mode, change_bytes(content, draw(CHANGES_OF_BYTES))


def test_an_archive_of_cifar_is_a_data_set_or_an_error(fuzz, tmp_path):
    def read(value):
        kind, files, mode, content = value
        path = tmp_path / f"some.tar{'.gz' if mode else ''}"
        path.write_bytes(content)
        folder = tmp_path / kind.folder
        folder.mkdir(exist_ok=True)
        write_files(folder, files)
        for source in (folder, path):
            data = kind(str(source)).load(0)
            assert data.train.images.shape[1:] == (32, 32, 3)
            assert data.train.labels.dtype == np.int64

    fuzz("archives of CIFAR", archives(), read)


def npz(arrays: dict[str, np.ndarray], packing) -> bytes:
    buffer = io.BytesIO()
    packing(buffer, **arrays)
    return buffer.getvalue()


IMAGES = PIXELS.reshape(2, 32, 32, 3)
ARRAYS = {
    "x_train": IMAGES,
    "y_train": np.array([0, 1]),
    "x_test": IMAGES,
    "y_test": np.array([1, 0]),
}
ODD_ARRAYS = st.sampled_from(
    (
        *(
            np.zeros((0, 4, 4, 3), np.uint8),
            np.zeros((2, 0, 4, 3), np.uint8),
            np.zeros(2, np.uint8),
        ),
        *(np.array(7), np.array(["a", "b"]), np.array([None, 1], object), np.array([np.nan, 1])),
        *(
            np.array([-1, 5]),
            np.array([2**63, 0], np.uint64),
            np.zeros((2, 4, 4, 3)),
            IMAGES[..., :1],
        ),
        *(np.zeros((2, 1), np.int8), np.array([0, 10**9]), np.zeros(2, [("a", "i4")]), IMAGES[0]),
        *(np.array([b"a", b"b"]), np.array(["2026-01-01"], "M8[D]"), np.zeros(2, complex)),
    )
)
NPZ = st.builds(
    lambda changed, packing, changes: change_bytes(npz({**ARRAYS, **changed}, packing), changes),
    st.dictionaries(st.sampled_from((*ARRAYS, "class_names", "other")), ODD_ARRAYS, max_size=2),
    st.sampled_from((np.savez, np.savez_compressed)),
    st.one_of(st.just([]), CHANGES_OF_BYTES),
)


def test_arrays_are_a_data_set_or_an_error(fuzz, tmp_path):
    path = tmp_path / "some.npz"

    def read(content):
        path.write_bytes(content)
        data = CIFAR10(str(path)).load(0)
        assert data.train.images.dtype == np.uint8

    fuzz("arrays", NPZ, read)
