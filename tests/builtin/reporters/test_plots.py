import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tlkit import ConfigError, DataError
from tlkit.builtin.reporters.history import epoch_rows
from tlkit.builtin.reporters.plots import (
    PlotsReporter,
    draw_confusion_matrix,
    draw_curves,
    draw_reliability,
)


def texts(figure):
    from matplotlib.text import Text

    return [item.get_text() for item in figure.findobj(Text) if item.get_text()]


def curves(result):
    return draw_curves(result, epoch_rows(result.phases))


def test_three_pictures_wide_enough_to_read_and_nothing_else(fake_result, tmp_path):
    PlotsReporter().on_run_end(fake_result(folder=tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "confusion_matrix.png",
        "curves.png",
        "plots",
        "reliability.png",
    ]
    for path in (tmp_path / "plots").iterdir():
        with Image.open(path) as picture:
            assert picture.width >= 700
            assert np.asarray(picture.convert("L")).std() > 5


def test_no_folder_no_files(fake_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PlotsReporter().on_run_end(fake_result())
    assert list(tmp_path.iterdir()) == []


def test_no_epochs_no_curves(fake_result, tmp_path):
    PlotsReporter(dpi=50).on_run_end(fake_result(folder=tmp_path, epochs=()))
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"confusion_matrix.png", "reliability.png"}


def test_curves_go_on_over_the_phases_with_a_named_boundary(fake_result):
    result = fake_result(epochs=(5, 3))
    figure = curves(result)
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines[:2]] == ["train", "validation"]
    places, values = loss.lines[0].get_data()
    assert [x for x, y in zip(places, values, strict=True) if y == y] == list(range(1, 9))
    # Between the phases there is a gap, as weights and losses are others.
    assert [x for x, y in zip(places, values, strict=True) if y != y] == [5.5]
    assert accuracy.lines[0].get_ydata()[0] == pytest.approx(35.0)
    assert list(loss.lines[2].get_xdata()) == [5.5, 5.5]
    named = {"frozen", "fine-tune", "Epoch", "Cross-entropy loss (nats)", "Accuracy (%)"}
    assert named <= set(texts(figure))
    assert figure.get_suptitle() == f"cifar10: test accuracy {100 * result.accuracy:.1f} %"


def test_validation_on_the_test_set_is_said(fake_result):
    figure = curves(fake_result(validates_on_test=True))
    assert "test set as validation" in texts(figure)
    # The data set brought validation images, so that the config's word was ignored.
    own = curves(fake_result(config={"run": {"validation": "test"}}, validates_on_test=False))
    assert "test set as validation" not in texts(own)


@pytest.mark.parametrize("validates_on_test", [False, True])
def test_one_epoch_is_bars_with_their_numbers(fake_result, validates_on_test):
    result = fake_result(epochs=(1,), validates_on_test=validates_on_test)
    loss, accuracy = curves(result).axes
    history = result.phases[0].history
    assert [bar.get_height() for bar in loss.patches] == [
        history["loss"][0], history["val_loss"][0]
    ]  # fmt: skip
    assert [bar.get_height() for bar in accuracy.patches] == pytest.approx(
        [100 * history["accuracy"][0], 100 * history["val_accuracy"][0]]
    )
    names = [label.get_text() for label in loss.get_xticklabels()]
    assert names == ["train", "test set as validation" if validates_on_test else "validation"]
    assert f"{history['loss'][0]:.3f}" in [text.get_text() for text in loss.texts]
    assert not loss.lines


def test_one_epoch_without_numbers_is_said(fake_result):
    result = fake_result(epochs=(1,), validation=False, loss=float("nan"))
    assert "no finite values" in texts(curves(result))


def test_a_training_loss_on_soft_labels_is_called_so(fake_result):
    config = {"workflow": {"name": "freeze_and_train", "label_smoothing": 0.1}}
    loss, accuracy = curves(fake_result(config=config)).axes
    assert loss.lines[0].get_label() == "train (fine-tune: soft labels)"
    assert accuracy.lines[0].get_label() == "train"
    frozen = curves(fake_result(config=config, epochs=(5,)))
    assert frozen.axes[0].lines[0].get_label() == "train"


def test_counts_that_differ_much_have_a_logarithmic_axis(fake_result):
    result = fake_result()
    counts = draw_reliability(result).axes[1]
    assert (counts.get_yscale(), counts.get_ylabel()) == ("linear", "Test images")
    calibration = result.test.calibration
    first = calibration.uncalibrated.bins[0]
    bins = (replace(first, lower=0.0, upper=1 / 15, count=2), replace(first, count=2000))
    uneven = replace(calibration, uncalibrated=replace(calibration.uncalibrated, bins=bins))
    test = replace(result.test, calibration=uneven)
    counts = draw_reliability(replace(result, test=test)).axes[1]
    assert (counts.get_yscale(), counts.get_ylabel()) == ("log", "Test images\n(log scale)")


def test_long_names_keep_their_ends(fake_result):
    names = tuple(f"a species of birds, number {index}" for index in range(12))
    figure = draw_confusion_matrix(fake_result(names))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 12
    assert labels[3].startswith("a species")
    assert labels[3].endswith("er 3")


def test_confusions_of_many_classes_are_seen_by_colour(fake_result):
    few, many = (
        draw_confusion_matrix(fake_result(tuple(f"c{n}" for n in range(count)), count=2000))
        for count in (10, 30)
    )
    assert few.axes[0].images[0].norm(4.0) == pytest.approx(0.04)
    assert many.axes[0].images[0].norm(4.0) == pytest.approx(0.2)
    assert "square-root scale" in many.axes[1].get_ylabel()
    assert "square-root scale" not in few.axes[1].get_ylabel()


def test_without_validation_there_is_one_curve(fake_result):
    figure = curves(fake_result(validation=False, epochs=(3,)))
    assert [line.get_label() for line in figure.axes[0].lines] == ["train"]


def test_a_loss_that_is_no_number_is_said(fake_result):
    figure = curves(fake_result(validation=False, epochs=(3,), loss=float("nan")))
    assert "no finite values" in texts(figure)


def test_the_name_of_a_short_phase_is_on_another_level(fake_result):
    figure = curves(fake_result(epochs=(1, 12)))
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert heights["frozen"] != heights["fine-tune"]


def test_confusion_matrix_shows_counts_and_names(fake_result):
    result = fake_result()
    figure = draw_confusion_matrix(result)
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert numbers == [str(count) for count in result.test.confusion_matrix.ravel()]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == list(result.info.class_names)
    named = {"True class", "Predicted class", "Share of the true class (%)"}
    assert named <= set(texts(figure))


@pytest.mark.parametrize("applied", [False, True])
def test_reliability_shows_accuracies_and_counts_as_trained_and_with_the_temperature(
    fake_result, applied
):
    result = fake_result(temperature=0.75, applied=applied)
    calibration = result.test.calibration
    figure = draw_reliability(result)
    accuracies, counts = figure.axes
    bars = calibration.calibrated if applied else calibration.uncalibrated
    line = calibration.uncalibrated if applied else calibration.calibrated
    heights = [bar.get_height() for bar in accuracies.patches]
    assert heights == pytest.approx([100 * item.accuracy for item in bars.bins])
    assert [bar.get_height() for bar in counts.patches] == [item.count for item in bars.bins]
    assert [bar.get_x() for bar in counts.patches] == [100 * item.lower for item in bars.bins]
    diagonal, drawn = accuracies.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 100]
    assert drawn.get_xdata() == pytest.approx([100 * item.confidence for item in line.bins])
    assert drawn.get_ydata() == pytest.approx([100 * item.accuracy for item in line.bins])
    error = 100 * calibration.saved.expected_calibration_error
    assert figure.get_suptitle() == f"cifar10: expected calibration error {error:.1f} %"
    before = 100 * calibration.uncalibrated.expected_calibration_error
    after = 100 * calibration.calibrated.expected_calibration_error
    labels = {f"as trained: error {before:.1f} %", f"temperature 0.75: error {after:.1f} %"}
    assert labels <= set(texts(figure))


def test_reliability_without_a_temperature_has_bars_alone(fake_result):
    accuracies, _ = draw_reliability(fake_result()).axes
    assert len(accuracies.lines) == 1
    assert len(accuracies.patches) == len(fake_result().test.calibration.uncalibrated.bins)


def test_a_run_of_before_has_no_reliability_diagram(old_result, tmp_path):
    info = replace(old_result.info, folder=tmp_path)
    PlotsReporter(dpi=50).on_run_end(replace(old_result, info=info))
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"confusion_matrix.png", "curves.png"}
    with pytest.raises(DataError, match="no calibration"):
        draw_reliability(old_result)


@pytest.mark.parametrize(("count", "named"), [(40, True), (100, False)])
def test_many_classes_have_no_numbers_in_the_cells(fake_result, count, named):
    names = tuple(f"class_{index}" for index in range(count))
    figure = draw_confusion_matrix(fake_result(names, count=3000))
    assert not figure.axes[0].texts
    assert ("class_1" in texts(figure)) == named


def test_nasty_names_are_drawn_as_written(fake_result, nasty_names, tmp_path):
    result = fake_result(nasty_names, folder=tmp_path, name="$a$ [/] \x1b[0m" + "n" * 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PlotsReporter(dpi=50).on_run_end(result)
    figure = draw_confusion_matrix(result)
    assert not any(character in text for text in texts(figure) for character in "\x1b\u202e\n\t")
    assert figure.get_suptitle().startswith("$a$ [/] \\x1b[0m")
    assert len(figure.get_suptitle()) < 70
    for label in (*figure.axes[0].get_xticklabels(), *figure.axes[0].get_yticklabels()):
        assert not label.get_parse_math()
        assert 0 < len(label.get_text()) <= 16


def test_a_class_without_test_images(fake_result, tmp_path):
    PlotsReporter(dpi=50).on_run_end(fake_result(folder=tmp_path, missing_class=True))
    assert (tmp_path / "plots" / "confusion_matrix.png").stat().st_size > 0


def test_matplotlib_keeps_nothing(fake_result, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    PlotsReporter(dpi=50).on_run_end(fake_result(folder=tmp_path))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("dpi", [0, -1, 49, 601])
def test_dpi_out_of_range(dpi):
    with pytest.raises(ConfigError, match="50 to 600"):
        PlotsReporter(dpi=dpi)
