import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.export.conftest import answers, pictures
from tlkit import ExportError
from tlkit.export.checking import TestSet, find_fault, keras_answers, measure
from tlkit.export.formats import format_of
from tlkit.export.measuring import images_per_second, peak_memory
from tlkit.export.picture_file import read_batches, write_pictures
from tlkit.export.records import Figures

GOOD = Figures(0.9, 0.0, 1e-5, {1: 1.0, 32: 1.0}, None)


def test_pictures_come_back_in_order_and_in_batches_of_one_size(tmp_path):
    images = [*pictures((4, 6), 5), *pictures((3, 3), 2), *pictures((4, 6), 1)]
    write_pictures(tmp_path, images)
    batches = list(read_batches(tmp_path, 3))
    assert [len(batch) for batch in batches] == [3, 2, 2, 1]
    found = [image for batch in batches for image in batch]
    for image, expected in zip(found, images, strict=True):
        np.testing.assert_array_equal(image, expected)


def test_speed_is_images_and_not_calls():
    sizes = []

    def classify(batch):
        sizes.append(batch.shape)

    assert images_per_second(classify, pictures((4, 6), 1), 32) > 0
    assert set(sizes) == {(32, 4, 6, 3)}
    assert len(sizes) >= 11


def test_peak_memory_is_that_of_this_process():
    grown = "import numpy as np; kept = np.ones(50_000_000, np.uint8)"
    program = f"from tlkit.export.measuring import peak_memory; {grown}; print(peak_memory())"
    ballast = np.ones(300_000_000, np.uint8)  # what the child must not be charged with
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert peak_memory() > ballast.nbytes
    assert 50e6 < int(done.stdout) < 250e6


def test_a_file_is_run_in_a_process_of_its_own(model, source, tmp_path):
    images = [*pictures((24, 20), 5), *pictures((9, 9), 4)]
    (tmp_path / "pictures").mkdir()
    write_pictures(tmp_path / "pictures", images)
    probabilities = keras_answers(model, tmp_path / "pictures")
    expected = np.concatenate([answers(model, image[None]) for image in images])
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    labels = probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    test_set = TestSet(tmp_path / "pictures", labels, probabilities)
    assert test_set.accuracy == pytest.approx(8 / 9)
    fmt, path = format_of("onnx"), tmp_path / "model.onnx"
    fmt.write(source, path, "float32", "{}")
    figures = measure(fmt, path, test_set)
    assert figures.accuracy == pytest.approx(8 / 9)
    assert figures.accuracy_change == 0
    assert figures.largest_difference < 1e-4
    assert set(figures.images_per_second) == {1, 32}
    assert figures.peak_memory_bytes is None or figures.peak_memory_bytes > 20e6
    path.write_bytes(b"broken")
    with pytest.raises(ExportError, match=r"onnxruntime .* cannot run the file that was made: "):
        measure(fmt, path, test_set)


@pytest.mark.parametrize(
    ("change", "precision", "tolerance", "fault"),
    [
        ({}, "float32", 0.0, None),
        ({"accuracy_change": -0.01}, "int8", 1.0, None),
        (
            {"accuracy_change": -0.0101},
            "int8",
            1.0,
            r"by -1\.01 percentage points \(net 2 of 200 images\)",
        ),
        ({"accuracy_change": 0.02}, "int8", 1.0, r"changes by \+2\.00 .* tolerance of 1"),
        ({"accuracy_change": float("nan")}, "int8", 100.0, "changes by"),
        ({"largest_difference": 2e-3}, "float32", 1.0, "differs by 0.002"),
        ({"largest_difference": 0.5}, "float16", 1.0, None),
        ({"largest_difference": float("nan")}, "int8", 1.0, "no probabilities"),
    ],
)
def test_what_is_a_fault(change, precision, tolerance, fault):
    found = find_fault(replace(GOOD, **change), precision, tolerance, 200)
    if fault is None:
        assert found is None
    else:
        import re

        assert re.search(fault, found)


def test_the_program_imports_no_tensorflow_for_other_runtimes():
    program = (
        "import sys; from tlkit.export.measuring import format_of; "
        "[format_of(name) for name in ('onnx', 'litert', 'openvino')]; "
        "print([name for name in ('tensorflow', 'keras', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
