import csv
import dataclasses
import json
from typing import ClassVar

import keras
import numpy as np
import pytest

from tests.tiny import Colours, make_images
from tlkit import ConfigError, Reporter, RunFolderError, Split, compare_runs, load_run
from tlkit.compare import _check_test_images
from tlkit.compare.reading import differing_settings
from tlkit.config.building import build_trainer
from tlkit.features import FeatureStore


def runs_in(tmp_path):
    return {path.name for path in (tmp_path / "out" / "runs").iterdir()}


def test_a_grid_trains_every_cell_over_one_feature_store(grid, tmp_path, config, registry):
    comparison = grid(backbones=["tiny", "wider"], heads=["linear", "dense"])
    assert [(cell.backbone, cell.head) for cell in comparison.cells] == [
        ("tiny", "linear"), ("tiny", "dense"), ("wider", "linear"), ("wider", "dense")
    ]  # fmt: skip
    figures = [cell.figures for cell in comparison.cells]
    assert [item.features_stored for item in figures] == [False, True, False, True]
    # A reused extraction counts with what it took when it was made.
    assert figures[1].features_seconds == figures[0].features_seconds > 0
    assert figures[0].images_per_second > 0
    assert figures[1].images_per_second is None
    head_difference = (16 * 8 + 8 + 8 * 3 + 3) - (16 * 3 + 3)
    assert figures[1].parameters - figures[0].parameters == head_difference
    for cell in comparison.cells:
        assert cell.figures.model_bytes == (cell.folder / "model.keras").stat().st_size
        assert cell.figures.accuracy == load_run(cell.folder).accuracy
        assert cell.figures.test_images == 30
    assert len(comparison.pairs) == 1
    for cell in comparison.cells[1], comparison.cells[3]:
        model = keras.models.load_model(cell.folder / "model.keras", compile=False)
        found = model.predict(Colours().load(0).test.images, verbose=0)
        kept = load_run(cell.folder).test.probabilities
        np.testing.assert_allclose(found, kept, atol=1e-5)
    # An ordinary run of the same settings gives the same model.
    alone = build_trainer(
        str(comparison.cells[1].folder / "config.toml"),
        runs=tmp_path / "alone", store=FeatureStore(tmp_path / "other"), registry=registry,
    ).run()  # fmt: skip
    np.testing.assert_array_equal(
        alone.test.probabilities, load_run(comparison.cells[1].folder).test.probabilities
    )


def test_the_results_are_written(grid, tmp_path):
    comparison = grid(heads=["linear", "dense"], seeds=[0, 1])
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["schema"] == "tlkit.compare/1"
    assert len(document["cells"]) == 4
    assert [row["seeds"] for row in document["rows"]] == [[0, 1], [0, 1]]
    accuracies = [cell.figures.accuracy for cell in comparison.cells if cell.head == "linear"]
    assert document["rows"][0]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert document["rows"][0]["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert "both with seed 0" in document["notes"][-1]
    assert document["pairs"][0]["sentence"].startswith("tiny, ")
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["head"], row["seed"]) for row in rows] == [
        ("linear", "0"), ("dense", "0"), ("linear", "1"), ("dense", "1")
    ]  # fmt: skip
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_finished_cells_are_reused_when_the_grid_grows(grid, tmp_path):
    first = grid(heads=["linear", "dense"])
    before = runs_in(tmp_path)
    again = grid(heads=["linear", "dense"])
    assert runs_in(tmp_path) == before
    assert all(cell.reused for cell in again.cells)
    assert [cell.figures for cell in again.cells] == [cell.figures for cell in first.cells]
    grown = grid(backbones=["tiny", "wider"], heads=["linear", "dense"])
    assert [cell.reused for cell in grown.cells] == [True, True, False, False]
    assert len(runs_in(tmp_path)) == 4


def test_few_shot_cells_share_features_and_digests(grid, tmp_path, config, registry, monkeypatch):
    from tlkit import fingerprint, leakage

    read = {"whole": 0, "each": 0}

    def counted(key, function):
        def call(*arguments):
            read[key] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(fingerprint, "digest_images", counted("whole", fingerprint.digest_images))
    monkeypatch.setattr(leakage, "digest_each", counted("each", leakage.digest_each))
    arguments = {"heads": ["prototype", "linear"], "seeds": [0, 1]}
    comparison = grid(few_shot=[1, 3, "all"], **arguments)
    assert len(comparison.cells) == 12
    assert not comparison.failed
    # Once for each seed, as the seed decides the random weights.
    assert [cell.figures.features_stored for cell in comparison.cells] == ([False] + [True] * 5) * 2
    assert len(FeatureStore(tmp_path / "features").entries()) == 4
    assert read == {"whole": 4, "each": 4}
    assert [cell.figures.train_images for cell in comparison.cells[:3]] == [3, 9, 81]
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(row["head"], row["few_shot"]) for row in document["rows"]] == [
        (head, count) for head in ("prototype", "linear") for count in (1, 3, 0)
    ]
    assert "both with all images and seed 0" in document["notes"][-1]
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["few_shot"] for row in rows] == ["1", "3", "0"] * 4
    assert [row["train_images"] for row in rows] == ["3", "9", "81"] * 4
    assert (tmp_path / "out" / "few_shot.png").read_bytes().startswith(b"\x89PNG")
    assert "[1/12] tiny, prototype, 1 image per class, seed 0: " in grid.said[0]
    # An ordinary run of the same settings gives the same answers.
    alone = build_trainer(
        str(config),
        ["run.few_shot=3", "head.name=linear"],
        runs=None, store=FeatureStore(tmp_path / "other"), registry=registry,
    ).run()  # fmt: skip
    np.testing.assert_array_equal(
        alone.test.probabilities, load_run(comparison.cells[4].folder).test.probabilities
    )
    grown = grid(few_shot=[1, 2, 3, "all"], **arguments)
    assert [cell.reused for cell in grown.cells] == [True, False, True, True] * 4


def test_a_class_with_fewer_images_than_few_shot_is_noted(grid):
    comparison = grid(heads=["prototype"], few_shot=[27, 28, 1000])
    assert comparison.notes == (
        "With 28 images per class, a class that has fewer training images gives what it has; the "
        "smallest has 27.",
        "With 1,000 images per class, a class that has fewer training images gives what it has; "
        "the smallest has 27.",
    )


def test_other_settings_run_again(grid):
    grid(heads=["linear", "dense"])
    other = grid(heads=["linear", "dense"], overrides=["workflow.epochs=3"])
    assert not any(cell.reused for cell in other.cells)


def test_a_data_set_that_changed_at_the_same_place_runs_again(grid, monkeypatch):
    grid(heads=["linear", "dense"])
    load = Colours.load

    def changed(self, seed):
        data = load(self, seed)
        data.test.images[0, 0, 0, 0] ^= 1
        return data

    monkeypatch.setattr(Colours, "load", changed)
    assert not any(cell.reused for cell in grid(heads=["linear", "dense"]).cells)


def swap_labels(split):
    split.labels[:2] = split.labels[[1, 0]]


def new_names(data):
    object.__setattr__(data, "class_names", ("red", "blue", "green"))


def test_a_data_set_with_other_labels_or_validation_images_runs_again(grid, monkeypatch):
    load = Colours.load
    changes = {
        "nothing": lambda data: None,
        "train": lambda data: swap_labels(data.train),
        "test": lambda data: swap_labels(data.test),
        "validation": lambda data: swap_labels(data.validation),
        "validation images": lambda data: data.validation.images.__ixor__(1),
        "class names": new_names,
    }
    reused = {}

    def changed(self, seed):
        data = dataclasses.replace(load(self, seed), validation=Split(*make_images(12, 9)))
        changes[what](data)
        return data

    monkeypatch.setattr(Colours, "load", changed)
    what = "nothing"
    grid(heads=["linear", "dense"])
    for what in changes:
        reused[what] = [cell.reused for cell in grid(heads=["linear", "dense"]).cells]
    assert reused == {what: [what == "nothing"] * 2 for what in changes}


def test_a_run_of_before_labels_had_a_fingerprint_runs_again(grid):
    first, _ = grid(heads=["linear", "dense"]).cells
    record = json.loads((first.folder / "run.json").read_text())
    del record["fingerprints"]["labels"]
    (first.folder / "run.json").write_text(json.dumps(record))
    assert [cell.reused for cell in grid(heads=["linear", "dense"]).cells] == [False, True]


def test_a_damaged_run_is_left_alone_and_an_unfinished_one_goes_on(grid, tmp_path):
    first, second = grid(heads=["linear", "dense"]).cells
    (first.folder / "run.json").unlink()
    (second.folder / "predictions.npz").write_bytes(b"broken")
    again = grid(heads=["linear", "dense"])
    assert not any(cell.reused for cell in again.cells)
    assert all(cell.figures.features_stored for cell in again.cells)
    assert len(runs_in(tmp_path)) == 3
    assert again.cells[0].folder == first.folder


def test_a_failing_cell_is_recorded_and_tried_again(grid, tmp_path, registry):
    comparison = grid(backbones=["unbuildable", "tiny"], heads=["linear", "dense"])
    errors = [str(cell.error) for cell in comparison.failed]
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("Backbone 'unbuildable' of the module ")
        assert "failed in build(): ValueError: no weights here" in error
    assert [cell.figures is None for cell in comparison.cells] == [True, True, False, False]
    assert f"failed: {errors[0]}" in grid.said[0]
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["cells"][0]["error"] == errors[0]
    assert document["rows"][0]["accuracy"] is None
    plugin = registry.get("backbone", "unbuildable")
    build = plugin.build
    try:
        plugin.build = registry.get("backbone", "tiny").build
        mended = grid(backbones=["unbuildable", "tiny"], heads=["linear", "dense"])
    finally:
        plugin.build = build
    assert not mended.failed
    assert [cell.reused for cell in mended.cells] == [False, False, True, True]


def test_cells_of_one_seed_must_have_the_same_test_images(grid):
    first, second = grid(heads=["linear", "dense"]).cells
    figures = dataclasses.replace(second.figures, test_fingerprint="other")
    with pytest.raises(RunFolderError, match="not tested on the same images"):
        _check_test_images([first, dataclasses.replace(second, figures=figures)])
    notes = _check_test_images([first, dataclasses.replace(second, figures=figures, seed=1)])
    assert "test images of its own" in notes[0]
    relabelled = dataclasses.replace(second.figures, labels_fingerprint="other")
    with pytest.raises(RunFolderError, match="did not have the same labels"):
        _check_test_images([first, dataclasses.replace(second, figures=relabelled)])
    assert _check_test_images([first, second]) == ()


def test_an_interrupt_keeps_the_cells_that_are_finished(grid, monkeypatch):
    from tlkit.compare import running

    real = running._run
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(running, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grid(heads=["linear", "dense", "mlp"])
    monkeypatch.setattr(running, "_run", real)
    assert [cell.reused for cell in grid(heads=["linear", "dense", "mlp"]).cells] == [
        True, False, False
    ]  # fmt: skip


def test_features_made_before_the_grid_count_with_what_they_took(grid, config, registry, tmp_path):
    store = FeatureStore(tmp_path / "features")
    made = build_trainer(str(config), runs=None, store=store, registry=registry).run()
    cells = grid(heads=["linear", "dense"]).cells
    for cell in cells:
        assert cell.figures.features_stored
        assert cell.figures.features_seconds == pytest.approx(made.seconds["features"], rel=0.5)


def test_fine_tuned_cells_share_no_network(grid, config, registry, tmp_path):
    overrides = ["workflow.fine_tune_epochs=1", "workflow.unfreeze=2"]
    cells = grid(heads=["linear", "dense"], overrides=overrides).cells
    alone = build_trainer(
        str(cells[1].folder / "config.toml"),
        runs=None, store=FeatureStore(tmp_path / "other"), registry=registry,
    ).run()  # fmt: skip
    np.testing.assert_array_equal(
        alone.test.probabilities, load_run(cells[1].folder).test.probabilities
    )


def test_the_best_two_are_chosen_by_validation(grid):
    comparison = grid(heads=["linear", "dense", "mlp"], overrides=["workflow.epochs=20"])
    ranked = sorted(comparison.cells, key=lambda cell: -cell.figures.validation_accuracy)
    assert "validation accuracy" in comparison.notes[-1]
    (test,) = comparison.pairs
    assert test.first == f"tiny, {ranked[0].head}"
    by_test = grid(heads=["linear", "dense"], overrides=["run.validation=test"])
    assert "by test accuracy" in by_test.notes[-1]
    assert by_test.cells[0].figures.validation_accuracy is None


@pytest.fixture
def make_run(config, registry, tmp_path):
    def make(*overrides, name="run", **changes):
        trainer = build_trainer(
            str(config), ["reporters=[]", f"run.name={name}", *overrides],
            runs=tmp_path / "runs", store=FeatureStore(tmp_path / "features"), registry=registry,
        )  # fmt: skip
        return trainer.run().folder

    return make


def test_runs_side_by_side(make_run, tmp_path):
    folders = [
        make_run("workflow.epochs=40", name="long"),
        make_run(name="short"),
        make_run("head.name=linear", name="line"),
    ]
    comparison = compare_runs(folders, output=tmp_path / "side")
    assert [cell.name for cell in comparison.cells] == [folder.name for folder in folders]
    assert [(test.first, test.second) for test in comparison.pairs] == [
        (folders[0].name, folders[1].name),
        (folders[0].name, folders[2].name),
        (folders[1].name, folders[2].name),
    ]
    right = [
        (run := load_run(folder)).test.predictions == run.test.labels for folder in folders[:2]
    ]
    first = comparison.pairs[0]
    assert first.only_first == (right[0] & ~right[1]).sum()
    assert first.only_second == (~right[0] & right[1]).sum()
    assert dict(comparison.differences)["workflow.epochs"] == ("40", "2", "2")
    assert dict(comparison.differences)["head.units"] == ("8", "8", "-")
    assert (tmp_path / "side" / "comparison.png").is_file()


def test_runs_of_other_test_images_are_refused(make_run, monkeypatch):
    reference = make_run()
    load = Colours.load

    def change(edit):
        def changed(self, seed):
            return edit(load(self, seed))

        monkeypatch.setattr(Colours, "load", changed)

    def other_pixels(data):
        data.test.images[0, 0, 0, 0] ^= 1
        return data

    def other_labels(data):
        data.test.labels[:2] = data.test.labels[[1, 0]]
        return data

    def fewer(data):
        return dataclasses.replace(data, test=Split(*make_images(21, 2)))

    def other_order(data):
        return dataclasses.replace(data, class_names=("red", "blue", "green"))

    def other_names(data):
        return dataclasses.replace(data, class_names=("red", "cat", "dog"))

    def more_classes(data):
        return dataclasses.replace(data, class_names=("red", "green", "blue", "cat"))

    for edit, message in (
        (other_pixels, "their test images differ"),
        (other_labels, "the labels of 2 of 30 test images differ"),
        (fewer, "30 and 21 test images"),
        (
            other_order,
            r"their classes differ: in another order, label 1 is green and blue\.",
        ),
        (
            other_names,
            r"their classes differ: only the first has green, blue, only the second cat, dog\.",
        ),
        (more_classes, "their classes differ: there are 3 and 4\\."),
    ):
        change(edit)
        with pytest.raises(RunFolderError, match=message):
            compare_runs([reference, make_run()])


def test_too_few_runs_are_refused(make_run, tmp_path):
    folder = make_run()
    for given in ([], [folder], [folder, folder]):
        with pytest.raises(ConfigError, match="two or more different run folders"):
            compare_runs(given)
    with pytest.raises(RunFolderError, match="There is no run folder"):
        compare_runs([folder, tmp_path / "missing"])


class Listens(Reporter):
    """Writes down what it is told, each object in a list of its own."""

    name = "listens"
    heard: ClassVar[list] = []

    def __init__(self, fails: bool = False, fails_in_run: bool = False) -> None:
        self.fails, self.fails_in_run, self.events = fails, fails_in_run, []
        self.heard.append(self.events)

    def on_run_begin(self, run, **kwargs):
        self.events.append(("run", kwargs["comparison"]))
        if self.fails_in_run:
            raise ValueError("no disk\nand a second line")

    def on_comparison_end(self, comparison, **kwargs):
        self.events.append(("comparison", comparison))
        if self.fails:
            raise ValueError("no server")


def listening(config, registry, options=""):
    Listens.heard.clear()
    if ("reporter", "listens") not in {(e.kind, e.name) for e in registry.list("reporter")}:
        registry.register(Listens)
    config.write_text(config.read_text() + f'\n[[reporters]]\nname = "listens"\n{options}')


def test_reporters_are_told_of_the_comparison(grid, config, registry, tmp_path):
    listening(config, registry)
    comparison = grid(heads=["linear", "dense"])
    told = [events for events in Listens.heard if events]
    assert told == [
        [("run", tmp_path / "out")],
        [("run", tmp_path / "out")],
        [("comparison", comparison)],
    ]
    Listens.heard.clear()
    again = grid(heads=["linear", "dense"])
    assert [events for events in Listens.heard if events] == [[("comparison", again)]]


def test_a_reporter_that_raises_at_the_end_does_not_lose_the_comparison(grid, config, registry):
    listening(config, registry, "fails = true")
    with pytest.warns(
        RuntimeWarning, match=r"'listens' of .* raised ValueError in on_comparison_end"
    ):
        comparison = grid(heads=["linear", "dense"])
    assert len(comparison.cells) == 2
    assert (comparison.folder / "comparison.png").is_file()
    assert "dropped: no server" in comparison.notes[0]
    assert comparison.notes[-1].startswith("The best two")  # the tests follow it
    document = json.loads((comparison.folder / "comparison.json").read_text())
    assert document["notes"] == list(comparison.notes)


def test_the_warnings_of_a_cell_are_said_below_its_line(grid, config, registry):
    listening(config, registry, "fails_in_run = true")
    with pytest.warns(RuntimeWarning, match=r"'listens' of .* raised ValueError in on_run_begin"):
        grid(heads=["linear", "dense"])
    assert len(grid.said) == 2
    for text in grid.said:
        _, warning = text.split("\n")
        assert warning.startswith("  Warning: Reporter 'listens' of the module ")
        assert warning.endswith("no disk and a second line")


def test_a_setting_that_older_runs_do_not_have_is_at_its_default_there():
    new = {"test_time_augmentation": {"mirror": False, "scales": []}, "head": {"units": 8}}
    old = {"head": {"units": 9}}
    assert differing_settings([new, old]) == (("head.units", ("8", "9")),)
    on = {"test_time_augmentation": {"mirror": True, "scales": []}, "head": {"units": 9}}
    assert differing_settings([on, old]) == (("test_time_augmentation.mirror", ("True", "False")),)
