"""TensorBoard's own readers read what the reporter wrote."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CLASS_NAMES, Colours, TinyBackbone
from tlkit import ConfigError, PluginError, Registry, Reporter, Trainer
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.reporters.history import epoch_rows
from tlkit.builtin.reporters.mistakes import draw_mistakes
from tlkit.builtin.reporters.plots import draw_confusion_matrix
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore

pytest.importorskip("tensorboard", reason="pip install 'tlkit[tensorboard]'")

from tlkit.builtin.reporters.tensorboard import TensorBoardReporter


class MapHead(Dense):
    """Takes feature maps."""

    name = "map_head"
    pooling = None

    def build(self, feature_shape, num_classes):
        import keras

        return keras.Sequential(
            [keras.Input(feature_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)]
        )


class Stops(Reporter):
    """Interrupts the run after the second epoch."""

    name = "stops"
    seen = 0

    def on_epoch_end(self, *args, **kwargs):
        self.seen += 1
        if self.seen == 2:
            raise KeyboardInterrupt


@pytest.fixture
def make_trainer(tmp_path):
    def make(reporters=(), head=None, **workflow):
        return Trainer(
            backbone=TinyBackbone(),
            head=head or Dense(8),
            dataset=Colours(),
            workflow=FreezeAndTrain(**({"epochs": 2, "learning_rate": 1e-2} | workflow)),
            reporters=list(reporters) or [TensorBoardReporter()],
            runs=tmp_path / "runs",
            store=FeatureStore(tmp_path / "features"),
            registry=Registry(entry_points=False),
        )

    return make


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def values(folder, tag):
    from tensorboard.util import tensor_util

    events = read(folder).Tensors(tag)
    return {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in events}


def text(folder, tag, step):
    return values(folder, tag)[step][()].decode()


def projected(log):
    tensors = np.loadtxt(log / "tensors.tsv", delimiter="\t", ndmin=2)
    head, *rows = [line.split("\t") for line in (log / "metadata.tsv").read_text().splitlines()]
    return tensors, head, rows


def test_every_figure_of_every_epoch_is_that_of_the_history(make_trainer):
    result = make_trainer(fine_tune_epochs=2).run()
    log = result.folder / "tensorboard"
    rows = epoch_rows(result.phases)
    assert [row.phase for row in rows] == ["frozen", "frozen", "fine-tune", "fine-tune"]
    for name, prefix in (("train", ""), ("validation", "val_")):
        for key in ("loss", "accuracy"):
            found = values(log / name, key)
            assert list(found) == [1, 2, 3, 4]
            expected = [row.metrics[prefix + key] for row in rows]
            np.testing.assert_allclose([found[step] for step in found], expected, rtol=1e-6)
    assert values(log, "test/accuracy")[4] == pytest.approx(result.accuracy)
    assert values(log, "test/loss")[4] == pytest.approx(result.test.loss)
    low, high = (values(log, f"test/accuracy_{end}")[4] for end in ("low", "high"))
    assert (low, high) == pytest.approx(result.test.accuracy_interval)
    phases = values(log, "phase")
    assert list(phases) == [1, 3]
    assert "fine-tune" in text(log, "phase", 3)


def test_config_as_text_and_as_hyperparameters(make_trainer):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    result = make_trainer().run()
    log = result.folder / "tensorboard"
    lines = (result.folder / "config.toml").read_text().splitlines()
    assert text(log, "config", 0).splitlines() == [f"    {line}" for line in lines]
    metadata = read(log).SummaryMetadata("_hparams_/session_start_info")
    data = HParamsPluginData.FromString(metadata.plugin_data.content)
    hparams = data.session_start_info.hparams
    assert hparams["backbone.image_size"].number_value == 16
    assert hparams["head.name"].string_value == "dense"
    assert set(hparams) == set(result.info.settings)
    end = read(log).SummaryMetadata("_hparams_/session_end_info")
    ended = HParamsPluginData.FromString(end.plugin_data.content).session_end_info
    assert ended.status == 1  # success


def test_pictures_are_those_of_the_plots(make_trainer):
    result = make_trainer().run()
    log = result.folder / "tensorboard"
    width, height, png = (item for item in values(log, "confusion_matrix")[2])
    figure = draw_confusion_matrix(result)
    figure.set_dpi(100)
    figure.canvas.draw()
    expected = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    assert (int(height), int(width)) == expected.shape[:2]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
    assert "reliability" in read(log).Tags()["tensors"]


def test_mistakes_are_the_surest_wrong_answers(make_trainer, fake_result):
    from dataclasses import replace

    result = fake_result(count=60)
    images = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    result = replace(result, test_images=images)
    figure = draw_mistakes(result, 5)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    wrong = result.test.predictions != result.test.labels
    assert len(shown) == 5
    assert wrong[shown].all()
    confidences = result.test.probabilities.max(axis=1)
    assert confidences[shown].min() >= np.sort(confidences[wrong])[-5]
    first = figure.axes[0].get_title()
    names = result.info.class_names
    answer, truth = names[result.test.predictions[shown[0]]], names[result.test.labels[shown[0]]]
    assert answer in first
    assert first.endswith(f"is {truth}")
    assert draw_mistakes(result, 0) is None
    assert draw_mistakes(replace(result, test_images=None), 5) is None


def test_mistakes_keep_no_large_photographs_in_memory(fake_result):
    from dataclasses import replace

    photographs = np.broadcast_to(np.arange(600, dtype=np.uint8)[:, None, None], (60, 600, 900, 3))
    figure = draw_mistakes(replace(fake_result(count=60), test_images=photographs), 5)
    shown = [axes.images[0].get_array().shape for axes in figure.axes if axes.images]
    assert shown == [(171, 256, 3)] * 5


class Gone:
    """Images of which some cannot be read any more."""

    def __init__(self, images, gone):
        self.images, self.gone = images, gone

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if np.isin(index, self.gone).any():
            raise OSError("no such file")
        return self.images[index]


def test_images_that_are_gone_are_left_out_and_all_else_is_there(fake_result, tmp_path):
    from dataclasses import replace

    result = fake_result(count=60, folder=tmp_path)
    confidences = result.test.probabilities.max(axis=1)
    wrong = np.flatnonzero(result.test.predictions != result.test.labels)
    surest = wrong[np.argsort(-confidences[wrong], kind="stable")]
    gone = [int(surest[0]), 0]
    values_of = np.arange(60, dtype=np.uint8)[:, None, None, None]
    images = Gone(values_of * np.ones((1, 4, 4, 3), np.uint8), gone)
    result = replace(result, test_images=images)
    figure = draw_mistakes(result, 5)
    shown = [int(axes.images[0].get_array()[0, 0, 0]) for axes in figure.axes if axes.images]
    assert shown == [index for index in surest.tolist() if index not in gone][:5]
    (tmp_path / "config.toml").touch()
    reporter = TensorBoardReporter()
    reporter.on_run_begin(result.info)

    def features(rows):
        assert len(images[rows])  # as after fine-tuning
        return np.tile(rows[:, None], (1, 2)).astype(np.float32)

    reporter.on_run_end(result, test_features=features)
    log = tmp_path / "tensorboard"
    tensors, head, rows = projected(log)
    expected = [index for index in range(60) if index not in gone]
    assert [int(row[head.index("index")]) for row in rows] == expected
    assert tensors[:, 0].tolist() == expected
    sheet = np.asarray(Image.open(log / "sprite.png"))
    columns = sheet.shape[1] // 48
    for place, index in enumerate(expected):
        assert sheet[place // columns * 48, place % columns * 48, 0] == index
    assert {"mistakes", "confusion_matrix"} <= set(read(log).Tags()["tensors"])


def test_figures_are_kept_where_the_projector_fails(fake_result, tmp_path):
    result = fake_result(folder=tmp_path)
    (tmp_path / "config.toml").touch()
    reporter = TensorBoardReporter()
    reporter.on_run_begin(result.info)

    def features(rows):
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        reporter.on_run_end(result, test_features=features)
    # No flush() of the test's own: what is there was written when the reporter was dropped.
    log = read(tmp_path / "tensorboard")
    tags = log.Tags()["tensors"]
    assert {"test/accuracy", "confusion_matrix", "_hparams_/session_end_info"} <= set(tags)


@pytest.mark.parametrize("fine_tune_epochs", [0, 1])
def test_the_projector_has_the_features_that_the_saved_model_computes(
    make_trainer, fine_tune_epochs
):
    import keras
    from google.protobuf import text_format
    from tensorboard.plugins.projector import ProjectorConfig

    result = make_trainer(fine_tune_epochs=fine_tune_epochs).run()
    log = result.folder / "tensorboard"
    config = text_format.Parse((log / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    assert (log / embedding.tensor_path).is_file()
    tensors, head, rows = projected(log)
    model = keras.models.load_model(result.folder / "model.keras")
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    expected = pooled.predict(result.test_images, verbose=0)
    np.testing.assert_allclose(tensors, expected, rtol=1e-3, atol=1e-5)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    labels = [CLASS_NAMES[label] for label in result.test.labels]
    assert [row["class"] for row in found] == labels
    answers = [CLASS_NAMES[label] for label in result.test.predictions]
    assert [row["prediction"] for row in found] == answers
    assert [row["right"] == "yes" for row in found] == [
        label == answer for label, answer in zip(labels, answers, strict=True)
    ]
    side = embedding.sprite.single_image_dim[0]
    sheet = np.asarray(Image.open(log / embedding.sprite.image_path))
    columns = sheet.shape[1] // side
    for index in (0, columns, len(labels) - 1):
        row, column = divmod(index, columns)
        cell = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        picture = result.test_images[index]
        np.testing.assert_allclose(cell.mean(axis=(0, 1)), picture.mean(axis=(0, 1)), atol=2.0)


def test_few_points_are_drawn_the_same_each_time_and_maps_are_averaged(make_trainer):
    found = []
    for _ in range(2):
        result = make_trainer([TensorBoardReporter(embeddings=7)], head=MapHead(8)).run()
        tensors, head, rows = projected(result.folder / "tensorboard")
        assert tensors.shape == (7, 16)
        found.append([row[head.index("index")] for row in rows])
    assert found[0] == found[1]
    assert len(set(found[0])) == 7


def test_a_run_that_keeps_no_test_images_has_none_in_its_log(make_trainer):
    trainer = make_trainer([TensorBoardReporter(embeddings=7, mistakes=9)], head=MapHead(8))
    trainer.test_images = False
    result = trainer.run()
    log = result.folder / "tensorboard"
    assert "sprite" not in (log / "projector_config.pbtxt").read_text()
    assert not (log / "sprite.png").exists()
    assert len(np.loadtxt(log / "tensors.tsv")) == 7
    assert draw_mistakes(result, 9) is None


def test_without_embeddings_there_is_no_projector(make_trainer):
    result = make_trainer([TensorBoardReporter(embeddings=0, mistakes=0)]).run()
    names = {path.name for path in (result.folder / "tensorboard").iterdir()}
    assert not names & {"projector_config.pbtxt", "tensors.tsv", "sprite.png"}
    assert "mistakes" not in read(result.folder / "tensorboard").Tags()["tensors"]


def test_what_an_interrupted_run_wrote_can_be_read(make_trainer, tmp_path):
    trainer = make_trainer([TensorBoardReporter(), Stops()], epochs=5)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    (folder,) = (tmp_path / "runs").iterdir()
    assert list(values(folder / "tensorboard" / "train", "loss")) == [1, 2]


def test_one_reporter_serves_two_runs(make_trainer):
    trainer = make_trainer()
    for result in (trainer.run(), trainer.run()):
        assert list(values(result.folder / "tensorboard" / "train", "loss")) == [1, 2]


def test_a_run_without_folder_writes_nothing(make_trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = make_trainer()
    trainer.runs = None
    assert trainer.run().warnings == ()
    assert not list(tmp_path.rglob("events.out*"))


def test_names_from_outside_stay_text_in_markdown(fake_result, nasty_names, tmp_path):
    from tensorboard import plugin_util

    names = ("<script>alert(1)</script>", "a|b", "[x](http://y)", *nasty_names)
    result = fake_result(names, folder=tmp_path, notes=("<b>bold</b> *it* | `x`",))
    (tmp_path / "config.toml").write_text('name = "</code></pre><script>alert(1)</script>"')
    reporter = TensorBoardReporter()
    reporter.on_run_begin(result.info)
    reporter.on_run_end(result)
    log = tmp_path / "tensorboard"
    page = plugin_util.markdown_to_safe_html(text(log, "classes", 0))
    assert page.count("<tr>") == len(names) + 3
    assert "<script" not in page
    assert "<a " not in page
    assert "alert(1)" in page
    notes = plugin_util.markdown_to_safe_html(text(log, "notes", 0))
    assert "<b>" not in notes
    assert "<em>" not in notes
    assert "<script" not in plugin_util.markdown_to_safe_html(text(log, "config", 0))


@pytest.mark.parametrize("options", [{"embeddings": 10_001}, {"embeddings": -1}, {"mistakes": 65}])
def test_sizes_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        TensorBoardReporter(**options)


def test_where_tensorboard_is_missing_the_error_says_what_to_install(make_trainer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(PluginError, match=r"pip install 'tlkit\[tensorboard\]'"):
        make_trainer().run()


def test_a_resumed_run_has_each_epoch_once(make_trainer):
    class Stop(Reporter):
        def on_epoch_end(self, phase, epoch, metrics, seconds, **kwargs):
            if epoch == 2:
                raise KeyboardInterrupt

    trainer = make_trainer(epochs=3)
    trainer.listeners = [Stop()]
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    (folder,) = trainer.runs.iterdir()
    make_trainer(epochs=3).resume(folder)
    log = folder / "tensorboard"
    assert sorted(values(log / "validation", "loss")) == [1, 2, 3]
    assert len(list((log / "validation").iterdir())) == 1
