import functools
import re

import pytest
from PIL import Image

from tests.explain.squares import picture


@pytest.fixture
def call(tlkit_command):
    return functools.partial(tlkit_command, "explain")


def test_files_mistakes_and_a_sample_in_one_call(call, digits_run, tmp_path):
    Image.fromarray(picture({})).save(tmp_path / "a.png")
    code, out, err = call(
        digits_run.folder, "a.png", "--wrong", 2, "--sample", 3, "--out", tmp_path / "out"
    )
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) == 6
    assert all(re.search(r"\d\.\d %", line) for line in lines)
    assert lines[0].startswith(f"{tmp_path}/out/a-grad-cam.png")
    assert sum("true:" in line for line in lines) == 5
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_the_maps(call, digits_run, monkeypatch, tmp_path):
    monkeypatch.setattr("tlkit.explain.projection.importlib.util.find_spec", lambda name: None)
    code, out, err = call(digits_run.folder, "--map", "--out", tmp_path / "out")
    assert code == 0, err
    assert "map-pca.png  pca of 360 test images" in out
    assert {item.name for item in (tmp_path / "out").iterdir()} == {"map-pca.png", "map-t-sne.png"}


def test_a_picture_that_cannot_be_explained_exits_1_and_the_others_are_written(
    call, digits_run, tmp_path
):
    Image.fromarray(picture({})).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("broken")
    (tmp_path / "c.png").write_text("broken")
    pictures = ("b.png", "a.png", "c.png", "d.png")
    code, out, err = call(digits_run.folder, *pictures, "--out", "out")
    assert code == 1
    assert "a-grad-cam.png" in out
    assert err.startswith("error: 2 images, such as b.png: it is no picture of a kind")
    assert "error: d.png: There is no file or folder d.png." in err
    assert "Traceback" not in err


def test_more_mistakes_than_there_are(call, squares_run, digits_run):
    code, _, err = call(digits_run.folder, "--wrong", 5_000, "--sample", 0, "--class", "x")
    assert code == 2
    assert "no class 'x'" in err
    code, _, err = call(squares_run.folder, "--wrong", 5_000)
    assert "fewer than the 5000 asked for" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to explain"),
        (["--wrong", 1, "--class", "eleven"], "no class 'eleven'"),
        (["--sample", 1, "--method", "occlusion", "--patch", 2], "patch = 2 is not allowed"),
        (["--method", "cam", "--sample", 1], "cam"),
        (["--wrong", -1], "greater than or equal to 0"),
    ],
)
def test_bad_input_exits_2_with_one_error(call, digits_run, arguments, message):
    code, _, err = call(digits_run.folder, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_help_is_there(call):
    code, out, _ = call("--help")
    assert code == 0
    assert "--wrong" in out
