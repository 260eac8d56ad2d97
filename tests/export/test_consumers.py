"""The consumers in examples/ classify with an exported file alone, where tlkit is not installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.export.conftest import answers, pictures
from tests.test_hostile_names import CLASSES
from tlkit.export.formats import FORMATS, format_of
from tlkit.export.metadata import as_text
from tlkit.images import read_picture
from tlkit.picture_check import EXIF_ORIENTATION

CONSUMERS = Path(__file__).parents[2] / "examples" / "consumers"
NAMES = (CLASSES[7], "猫 \udce9", CLASSES[8])
TOP = ("import ", "from ", '"""')
METADATA = as_text({"class_names": list(NAMES)})
# Runs scripts as `python SCRIPT ...` does, where tlkit is not installed.
WITHOUT_TLKIT = """
import json, runpy, sys
sys.modules["tlkit"] = None
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def save_pictures(folder, count):
    paths, images = [], []
    for number in range(count):
        (image,) = pictures(((24, 20), (9, 31))[number % 2], 1, number)
        path = folder / f"{number:03}.png"
        Image.fromarray(image).save(path)
        paths.append(path)
        images.append(image)
    return paths, images


def save_unusual(folder):
    """Save a picture that is turned by its EXIF orientation, and a transparent one."""
    first, second = pictures((9, 31), 2, 12)
    orientation = Image.Exif()
    orientation[EXIF_ORIENTATION] = 6
    turned, transparent = folder / "turned.jpg", folder / "transparent.png"
    Image.fromarray(first).save(turned, exif=orientation)
    alpha = np.linspace(0, 255, 31).astype(np.uint8)
    alpha = np.broadcast_to(alpha[:, None], (9, 31, 1))
    Image.fromarray(np.concatenate([second, alpha], axis=2)).save(transparent)
    return turned, transparent


def expected_classes(model, images):
    found = np.concatenate([answers(model, image[None]) for image in images])
    return [NAMES[place] for place in found.argmax(axis=1)], found.max(axis=1)


# Those that start TensorFlow share a process.
@pytest.mark.parametrize(
    "names", [("keras", "h5", "savedmodel"), ("onnx",), ("litert",), ("openvino",)], ids="-".join
)
def test_ten_lines_classify_without_tlkit(names, model, source, tmp_path):
    paths, images = save_pictures(tmp_path, 4)
    for path in save_unusual(tmp_path):
        pixels = read_picture(path)
        with Image.open(path) as careless:
            share = answers(model, np.asarray(careless.convert("RGB"))[None]).max()
        assert abs(share - answers(model, pixels[None]).max()) > 1e-3
        paths.append(path)
        images.append(pixels)
    calls = []
    for name in names:
        fmt = format_of(name)
        fmt.check("float32", None)
        path = tmp_path / fmt.file_name("float32")
        if not fmt.suffix:
            path.mkdir()
        fmt.write(source, path, "float32", METADATA)
        calls.append([str(item) for item in (CONSUMERS / f"classify_{name}.py", path, *paths)])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TLKIT, json.dumps(calls)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "", "KERAS_BACKEND": "tensorflow"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    classes, confidences = expected_classes(model, images)
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths) * len(names)
    for number, line in enumerate(lines):
        place = number % len(paths)
        assert line.startswith(ascii(classes[place]))
        share = re.search(rf"(\d\.\d+) {re.escape(str(paths[place]))}$", line)
        assert float(share[1]) == pytest.approx(confidences[place], abs=2e-4)


def test_there_is_a_consumer_of_ten_lines_for_each_format():
    for name in FORMATS:
        text = (CONSUMERS / f"classify_{name}.py").read_text(encoding="utf-8")
        assert "tlkit." not in text.replace("tlkit.json", "")
        assert "import tlkit" not in text
        body = [
            line for line in text.splitlines() if line and not re.match('import|from|"""', line)
        ]
        assert len(body) <= 18


@pytest.fixture(scope="module")
def node_consumer(tmp_path_factory):
    """The JavaScript consumer with its packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: the consumer in JavaScript is not tried")
    folder = tmp_path_factory.mktemp("javascript") / "consumer"
    shutil.copytree(
        CONSUMERS / "onnx_javascript", folder, ignore=shutil.ignore_patterns("node_modules")
    )
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH", done.stderr):
        pytest.skip("npm's registry cannot be reached: the consumer in JavaScript is not tried")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_javascript_gives_the_same_classes(node_consumer, model, source, tmp_path, precision):
    fmt, path = format_of("onnx"), tmp_path / "model.onnx"
    fmt.write(replace(source), path, precision, METADATA)
    paths, images = save_pictures(tmp_path, 100)
    _, transparent = save_unusual(tmp_path)
    paths.append(transparent)
    images.append(read_picture(transparent))
    done = subprocess.run(
        ["node", node_consumer / "classify.mjs", path, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    classify = fmt.open(path)
    here = np.concatenate([classify(image[None]) for image in images])
    assert [Path(item["picture"]) for item in found] == paths
    assert [item["class"] for item in found] == [NAMES[place] for place in here.argmax(axis=1)]
    confidences = [item["probability"] for item in found]
    np.testing.assert_allclose(
        confidences, here.max(axis=1), atol=1e-4 if precision == "float32" else 0.02
    )
    if precision == "float32":
        assert [item["class"] for item in found] == expected_classes(model, images)[0]
    assert len({item["class"] for item in found}) == 3
