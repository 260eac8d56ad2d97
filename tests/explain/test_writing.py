from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.explain.squares import picture
from tlkit import ConfigError, RunFolderError, load_run
from tlkit.explain import Settings, explain_pictures, explain_test_images
from tlkit.explain.parts import find_parts
from tlkit.explain.records import Explanation
from tlkit.explain.writing import _title


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(picture({"red": (4, 4)})).save(folder / "a b.png")
    Image.fromarray(picture({"blue": (4, 4)})).save(folder / "more" / "a b.png")
    return folder


def _colours(path):
    with Image.open(path) as opened:
        return opened.size, np.asarray(opened.convert("RGB"))


def test_a_png_for_each_picture_with_names_that_do_not_clash(squares_run, files, tmp_path):
    found = list(explain_pictures(squares_run.folder, [files], out=tmp_path / "out"))
    assert [item.path.name for item in found] == ["a_b-grad-cam.png", "a_b-2-grad-cam.png"]
    assert {item.path.name for item in found} == {
        item.name for item in (tmp_path / "out").iterdir()
    }
    assert [item.predicted for item in found] == ["red", "blue"]
    assert [item.explained for item in found] == [("red",), ("blue",)]
    assert all(item.true_class is None and item.confidence > 0.5 for item in found)
    size, pixels = _colours(found[0].path)
    assert size[0] > 700
    # There is colour beside the picture itself: the heat, in its right half.
    half = pixels[:, size[0] // 2 :].astype(int)
    assert (half.max(axis=2) - half.min(axis=2) > 60).sum() > 500


def test_the_title_names_the_view_of_a_model_that_averages_over_several(squares_run):
    config = {**squares_run.info.config, "test_time_augmentation": {"mirror": True, "scales": []}}
    averaging = replace(squares_run, info=replace(squares_run.info, config=config))
    parts = find_parts(squares_run.model)
    titles = [
        _title(run, Explanation("a.png", method), parts)
        for run in (averaging, squares_run)
        for method in ("grad-cam", "occlusion")
    ]
    assert ["plain view" in title for title in titles] == [True, False, False, False]


def test_the_default_folder_is_in_the_run(squares_run, files):
    (item, _) = explain_pictures(squares_run.folder, [files])
    assert item.path.parent == squares_run.folder / "explanations"
    assert item.path.is_file()


def test_a_broken_picture_is_named_and_the_others_go_on(squares_run, files, tmp_path):
    (files / "a b.png").write_text("broken")
    found = list(explain_pictures(squares_run.folder, [files], out=tmp_path / "out"))
    assert found[0].error.startswith("it is no picture of a kind that is read")
    assert found[0].path is None
    assert found[1].path.is_file()


def test_a_class_can_be_named(squares_run, files, tmp_path):
    settings = Settings("occlusion", class_name="blue", stride=0.25)
    found = list(explain_pictures(squares_run.folder, [files], settings, out=tmp_path))
    assert [item.explained for item in found] == [("blue",), ("blue",)]
    assert found[0].path.name == "a_b-occlusion.png"


def test_photographs_are_turned_as_their_exif_says(squares_run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(np.repeat(picture({"red": (4, 4)}), 3, axis=1)).save(
        tmp_path / "turned.png", exif=exif
    )
    (item,) = explain_pictures(squares_run.folder, [tmp_path / "turned.png"], out=tmp_path / "out")
    width, height = _colours(item.path)[0]
    assert height > width * 0.7  # upright, so the figure is tall


def test_test_images_have_their_true_class_and_mistakes_show_both(digits_run, tmp_path):
    run = load_run(digits_run.folder)
    right = np.flatnonzero(run.test.predictions == run.test.labels)[0]
    (wrong,) = run.test.confident_mistakes[:1]
    found = list(explain_test_images(digits_run.folder, [right, wrong], out=tmp_path))
    assert found[0].explained == (found[0].predicted,) == (found[0].true_class,)
    assert found[0].path.name == f"test-{right:03d}-grad-cam.png"
    assert found[1].true_class == run.info.class_names[run.test.labels[wrong]]
    assert found[1].explained == (found[1].predicted, found[1].true_class)
    assert found[1].confidence == pytest.approx(run.test.probabilities[wrong].max(), abs=1e-3)
    assert found[1].image == f"test image {wrong}"
    assert _colours(found[1].path)[0][0] > _colours(found[0].path)[0][0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("gradcam"), "Did you mean 'grad-cam'"),
        (Settings(class_name="rad"), "Did you mean 'red'"),
        (Settings("occlusion", patch=2), "patch = 2 is not allowed"),
    ],
)
def test_settings_are_checked(squares_run, files, settings, message):
    with pytest.raises(ConfigError, match=message):
        list(explain_pictures(squares_run.folder, [files], settings))


def test_bad_folders_are_named(squares_run, files, tmp_path):
    with pytest.raises(RunFolderError, match="no run folder"):
        list(explain_pictures(tmp_path / "run", [files]))
    missing = tmp_path / "nothing.png"
    first, second = explain_pictures(squares_run.folder, [missing, files / "a b.png"])
    assert "There is no file" in first.error
    assert second.error is None
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="--out DIR"):
        list(explain_pictures(squares_run.folder, [files], out=tmp_path / "file"))
