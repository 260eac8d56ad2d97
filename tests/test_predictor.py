from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CLASS_NAMES, Colours, TinyBackbone, make_images
from tlkit import Classifier, DataError, RunFolderError, Trainer
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.extraction import number_of_workers
from tlkit.predictor import predict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    trainer = Trainer(
        TinyBackbone(), "linear", Colours(), FreezeAndTrain(60, learning_rate=1e-2), [], runs=folder
    )
    return trainer.run()


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier.open(run.folder, "tensorflow")


@pytest.fixture
def pictures(tmp_path):
    images, labels = make_images(40, seed=5)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "pictures" / CLASS_NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:02d}.png")
    return tmp_path / "pictures"


def test_files_and_folders_are_classified_as_the_model_does(run, pictures):
    found = list(predict(run.folder, [pictures], top=3))
    assert len(found) == 40
    right = [item.path.split("/")[-2] == item.classes[0] for item in found]
    assert np.mean(right) > 0.9
    first = found[0]
    with Image.open(first.path) as picture:
        expected = run.model.predict(np.asarray(picture)[None], verbose=0)[0]
    assert first.classes[0] == CLASS_NAMES[expected.argmax()]
    assert first.confidences == pytest.approx(sorted(expected, reverse=True), abs=1e-5)


def test_a_broken_picture_is_listed_and_the_others_go_on(classifier, pictures):
    (pictures / "red" / "00.png").write_text("broken")
    found = list(predict(classifier, [pictures]))
    errors = [item for item in found if item.error]
    assert len(found) == 40
    assert len(errors) == 1
    assert "00.png" in errors[0].error


def test_what_is_missing_does_not_stop_the_others(classifier, pictures, tmp_path):
    inputs = [tmp_path / "nothing.png", pictures, tmp_path / "no-folder"]
    first, *found, last = predict(classifier, inputs)
    assert first.error == f"There is no file or folder {tmp_path / 'nothing.png'}."
    assert last.path == str(tmp_path / "no-folder")
    assert not last.classes
    assert len(found) == 40
    assert not any(item.error for item in found)


def test_whole_batches_that_cannot_be_read_cost_no_answer(classifier, pictures, tmp_path):
    broken = [tmp_path / f"{number}.png" for number in range(40)]
    for path in broken:
        path.write_text("broken")
    inputs = [*broken[:20], pictures, *broken[20:]]
    found = list(predict(classifier, inputs, batch_size=4))
    expected = list(predict(classifier, [pictures]))
    assert [item.path for item in found[:20]] == list(map(str, broken[:20]))
    assert [item.classes for item in found[20:60]] == [item.classes for item in expected]
    assert [item.error is None for item in found] == [False] * 20 + [True] * 40 + [False] * 20
    assert all(item.error for item in predict(classifier, broken))


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_the_batch_size_changes_no_answer(classifier, pictures, batch_size):
    expected = list(predict(classifier, [pictures], top=3))
    found = list(predict(classifier, [pictures], top=3, batch_size=batch_size))
    assert [item.classes for item in found] == [item.classes for item in expected]
    np.testing.assert_allclose(
        [item.confidences for item in found], [item.confidences for item in expected], atol=1e-5
    )


def test_no_more_pictures_are_read_than_are_soon_needed(classifier, pictures, monkeypatch):
    from tlkit.predictor import PictureInput

    begun = []
    read = PictureInput.read
    monkeypatch.setattr(PictureInput, "read", lambda item: (begun.append(item), read(item))[1])
    answers = predict(classifier, [pictures], batch_size=2)
    next(answers)
    answers.close()
    workers = number_of_workers()
    assert len(begun) <= 2 * (2 * workers + 2)


def test_bad_input_is_named(run, tmp_path):
    (tmp_path / "drawing.svg").write_text("<svg/>")
    with pytest.raises(DataError, match=r"No picture in .*1 other file\. .*\.png"):
        list(predict(run.folder, [tmp_path]))
    with pytest.raises(DataError, match="1 or more"):
        list(predict(run.folder, [tmp_path], top=0))
    with pytest.raises(DataError, match="batch_size = -1 is not allowed"):
        list(predict(run.folder, [tmp_path], batch_size=-1))
    with pytest.raises(RunFolderError, match="no run folder"):
        list(predict(tmp_path / "run", [__file__]))


def test_links_out_of_a_folder_are_refused_by_name_unless_given(classifier, pictures, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (4, 4), "red").save(outside / "a.png")
    (pictures / "link.png").symlink_to(outside / "a.png")
    (pictures / "folder").symlink_to(outside)
    found = {item.path: item for item in predict(classifier, [pictures])}
    assert len(found) == 42
    for name in ("link.png", "folder"):
        error = found[str(pictures / name)].error
        assert error.startswith(str(pictures / name))
        assert "leads out of" in error
    assert next(iter(predict(classifier, [pictures / "link.png"]))).classes == ("red",)


def test_large_pictures_get_the_answers_that_small_ones_get(classifier, pictures, monkeypatch):
    expected = list(predict(classifier, [pictures], top=3))
    monkeypatch.setattr("tlkit.predictor.LARGE", 0)
    found = list(predict(classifier, [pictures], top=3))
    assert [item.classes for item in found] == [item.classes for item in expected]
    np.testing.assert_allclose(
        [item.confidences for item in found], [item.confidences for item in expected], atol=1e-6
    )


def test_hostile_files_are_each_answered_and_the_good_ones_too(classifier, pictures, monkeypatch):
    monkeypatch.setenv("TLKIT_MAX_SIDE", "1000")
    Image.new("RGB", (1001, 2)).save(pictures / "long.png")
    (pictures / "script.png").write_text("<svg><script>alert(1)</script></svg>")
    (pictures / "post.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    errors = {
        Path(item.path).name: item.error for item in predict(classifier, [pictures]) if item.error
    }
    assert set(errors) == {"long.png", "script.png", "post.jpg"}
    assert "allowed are 1,000 a side. The environment variable TLKIT_MAX_SIDE" in errors["long.png"]
    assert "no picture of a kind that is read" in errors["script.png"]
    assert "no picture of a kind that is read" in errors["post.jpg"]


def test_below_the_threshold_no_class_is_given(classifier, pictures):
    sure = [item.confidences[0] for item in predict(classifier, [pictures])]
    threshold = float(np.median(sure))
    (pictures / "broken.png").write_text("broken")
    found = list(predict(classifier, [pictures], threshold=threshold))
    assert [item.abstained for item in found if not item.error] == [
        share < threshold for share in sure
    ]
    assert all(bool(item.classes) != bool(item.abstained or item.error) for item in found)
    assert [item.abstained for item in found if item.error] == [None]


def test_a_run_folder_among_the_pictures_is_refused(run, pictures):
    with pytest.raises(DataError, match=r"is a run folder, .* fit several runs"):
        list(predict(run.folder, [run.folder, pictures]))
