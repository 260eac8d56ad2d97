import os
import re
import subprocess
import sys
import urllib.parse
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import yaml
from PIL import Image

from tests.builtin.reporters.conftest import LINEAGE, NASTY, as_recorded_before, make_result
from tlkit import (
    Calibration,
    Reliability,
    ReliabilityBin,
    RunFolderError,
    TestTimeAugmentation,
    Trainer,
    load_run,
)
from tlkit.card import write_card
from tlkit.card.lab_report import lab_report
from tlkit.card.metadata import metadata
from tlkit.card.model_card import model_card


def programs(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def run_python(program, folder, cache):
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "TLKIT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["model-card", "lab-report"])
def test_pictures_are_drawn_and_the_links_lead_to_them(write_run, kind, tmp_path):
    folder = write_run(make_result())
    inside = write_card(folder, kind)
    (tmp_path / "a b").mkdir()
    outside = write_card(folder, kind, tmp_path / "a b" / "card.md")
    for path in (inside, outside):
        links = re.findall(r"!\[.*?\]\((.*?)\)", path.read_text())
        assert len(links) == 3
        for link in links:
            with Image.open(path.parent / urllib.parse.unquote(link)) as picture:
                assert picture.width > 300


def test_a_card_is_written_again_but_not_over_what_a_person_wrote(write_run):
    folder = write_run(make_result())
    path = write_card(folder)
    assert path == folder / "README.md"
    assert write_card(folder) == path
    text = path.read_text()
    path.write_text(text.replace("## Limits", "## Limits\n\n- A person's own."))
    edited = path.read_bytes()
    with pytest.raises(RunFolderError, match="was edited after tlkit wrote it"):
        write_card(folder)
    for other in (f"{text}A line at the end.\n", text.replace("\n", "\r\n")):
        path.write_bytes(other.encode())
        with pytest.raises(RunFolderError, match="was edited after tlkit wrote it"):
            write_card(folder)
    path.write_text(text.partition("<!-- Written by tlkit")[0])
    with pytest.raises(RunFolderError, match="does not bear tlkit's mark"):
        write_card(folder)
    path.write_bytes(edited)
    assert write_card(folder, out=folder / "other.md").read_text() == text
    assert path.read_bytes() == edited


def test_where_a_card_cannot_be_written(write_run, tmp_path):
    folder = write_run(make_result())
    with pytest.raises(RunFolderError, match="it is a folder"):
        write_card(folder, out=tmp_path)
    with pytest.raises(RunFolderError, match="Cannot write"):
        write_card(folder, out=tmp_path / "missing" / "card.md")
    with pytest.raises(RunFolderError, match="no run folder"):
        write_card(tmp_path)


def test_other_pictures_in_plots_do_not_stand_for_these(write_run):
    folder = write_run(make_result())
    (folder / "plots").mkdir()
    (folder / "plots" / "another.png").write_bytes(b"")
    assert write_card(folder).read_text().count("](plots/") == 3


def test_pictures_that_cannot_be_drawn(write_run):
    folder = write_run(make_result())
    (folder / "plots").write_text("a file")
    with pytest.raises(RunFolderError, match="Cannot draw the pictures into"):
        write_card(folder)


def test_the_hub_reads_the_metadata(write_run):
    result = make_result(config={"dataset": {"name": "cifar10"}, "backbone": {"name": "vgg16"}})
    card = huggingface_hub.ModelCard.load(write_card(write_run(result)))
    data = card.data
    assert data.library_name == "keras"
    assert data.pipeline_tag == "image-classification"
    assert data.datasets == ["uoft-cs/cifar10"]
    assert {"tlkit", "vgg16"} <= set(data.tags)
    assert data.license is None
    assert data.base_model is None
    found = {item.metric_type: item.metric_value for item in data.eval_results}
    assert found["accuracy"] == pytest.approx(result.accuracy)
    assert found["f1"] == pytest.approx(result.test.macro_f1, abs=1e-6)
    assert set(found) == set(data.metrics)
    assert {item.dataset_type for item in data.eval_results} == {"uoft-cs/cifar10"}
    assert data.model_name == "cifar10"


@pytest.mark.parametrize(
    ("tables", "datasets", "base"),
    [
        ({"dataset": {"name": "digits"}}, None, None),
        ({"dataset": {"name": "folder", "path": "/home/me/pets"}}, None, None),
        ({"dataset": {"name": "huggingface", "path": "a/pets"}}, ["a/pets"], None),
        ({"dataset": {"name": "huggingface", "path": "/data/pets"}}, None, None),
        ({"backbone": {"name": "kerashub", "preset": "vit_base"}}, ["uoft-cs/cifar10"], None),
        (
            {"backbone": {"name": "kerashub", "preset": "hf://timm/resnet18.a1_in1k"}},
            ["uoft-cs/cifar10"],
            "timm/resnet18.a1_in1k",
        ),
        (
            {"backbone": {"name": "kerashub", "preset": "hf://a/b", "weights": "random"}},
            ["uoft-cs/cifar10"],
            None,
        ),
    ],
)
def test_nothing_that_is_not_known_is_in_the_metadata(facts, tmp_path, tables, datasets, base):
    text = model_card(facts(tables=tables), tmp_path)
    data = yaml.safe_load(text.split("---\n")[1])
    assert data.get("datasets") == datasets
    assert data.get("base_model") == base
    assert "license" not in data
    assert "/home/me" not in text
    assert "/data/" not in text


@pytest.mark.parametrize(
    ("dataset", "count", "tested_on"),
    [
        (
            {"name": "cifar10"},
            10_000,
            {"name": "CIFAR-10", "type": "uoft-cs/cifar10", "split": "test"},
        ),
        (
            {"name": "cifar10"},
            400,
            {"name": "CIFAR-10: 400 test images", "type": "uoft-cs/cifar10"},
        ),
        (
            {"name": "cifar10", "path": "/home/me/some.npz"},
            10_000,
            {"name": "some.npz, read as CIFAR-10: 10,000 test images", "type": "custom"},
        ),
        (
            {"name": "huggingface", "path": "a/pets", "test": "validation"},
            400,
            {"name": "a/pets", "type": "a/pets", "split": "validation"},
        ),
        (
            {"name": "huggingface", "path": "a/pets", "test": "train[:400]"},
            400,
            {"name": "a/pets: 400 test images", "type": "a/pets"},
        ),
        (
            {"name": "huggingface", "path": "a/pets", "test": "test", "broken": "skip"},
            400,
            {"name": "a/pets: 400 test images", "type": "a/pets"},
        ),
        (
            {"name": "folder", "path": "/home/me/pets"},
            400,
            {"name": "pets (folder): 400 test images", "type": "folder"},
        ),
    ],
)
def test_a_split_is_named_only_if_the_figures_are_of_all_of_it(facts, dataset, count, tested_on):
    found = metadata(facts(count=count, tables={"dataset": dataset}))
    assert found["model-index"][0]["results"][0]["dataset"] == tested_on


@pytest.mark.parametrize("write", [model_card, lab_report])
@pytest.mark.parametrize("names", [NASTY, ("a", "b"), tuple(f"class {n}" for n in range(100))])
def test_cards_of_any_class_names(facts, tmp_path, write, names):
    text = write(facts(names, name="x" * 100), tmp_path)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "nan" not in text.lower().replace("nano", "")
    for program in programs(text):
        compile(program, "program", "exec")


def test_the_model_card_says_the_figures_of_the_run(facts, tmp_path):
    facts = facts(skill=0.6)
    text = model_card(facts, tmp_path)
    test = facts.result.test
    low, high = (f"{100 * end:.1f}" for end in test.accuracy_interval)
    right = int((test.predictions == test.labels).sum())
    assert f"{right} of 500 test images right: {100 * test.accuracy:.1f} %" in text
    assert f"(95 % interval {low} to {high})" in text
    for item in test.classes:
        row = f"| {item.name} | {item.precision:.3f} | {item.recall:.3f} | {item.f1:.3f} | 50 |"
        assert row in text
    worst = min(test.classes, key=lambda item: item.recall)
    assert f"least often: {worst.name} ({100 * worst.recall:.1f} %)" in section(text, "Limits")


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"validates_on_test": True}, "Validation was the test set", "used once, at the end"),
        ({}, "used once, at the end", "Validation was the test set"),
        ({}, "No test image is, byte for byte, a training image", "too good"),
        (
            {"duplicates": {"test": 25, "label_conflicts": 2}},
            "25 test images (5.0 %) are also training images",
            "No test image is",
        ),
        (
            {
                "duplicates": {"test": 1, "label_conflicts": 0},
                "tables": {"run": {"duplicates": "drop"}},
            },
            "these copies were taken out of training",
            "too good",
        ),
        ({"duplicates": {}}, "was not recorded", "No test image is"),
        (
            {"duplicates": {"test": 0, "validation_in_test": 7}},
            "7 of them are also test images",
            "used once, at the end",
        ),
        ({"skill": 0.0}, "has not been shown to be better than that", "far below"),
        ({"temperature": 0.75}, "the saved model does not do so", "is part of it"),
        ({"temperature": 0.75, "applied": True}, "0.75 is part of it", "does not do so"),
        ({"tables": {"run": {"few_shot": 5}}}, "at most 5 images of each class", "uneven"),
        ({"class_counts": (900, *(100,) * 9)}, "9.0 times the smallest's", "one has none"),
        ({"class_counts": (0, *(100,) * 9)}, "one has none", "times the smallest's"),
        ({"count": 100}, "fewer than 30 test images", "far below"),
        (
            {"tables": {"backbone": {"name": "mobilenet_v2", "weights": "random"}}},
            "random weights",
            "ImageNet",
        ),
    ],
)
def test_the_model_card_says_what_holds_of_this_run_alone(facts, tmp_path, changes, said, unsaid):
    text = model_card(facts(**changes), tmp_path)
    assert said in text
    assert unsaid not in text


UNIT = {
    "name": "mobilenet_v2",
    "image_size": 32,
    "weights": "imagenet",
    "preprocessing": "unit",
}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"backbone": UNIT}, ("far below", "divided by 255", "32 x 32", "`cifar10`")),
        ({"backbone": {**UNIT, "name": "vgg16"}}, ("Larger pictures would probably",)),
        ({"backbone": {**UNIT, "preprocessing": "native"}}, ("Larger pictures would probably",)),
        ({"backbone": UNIT, "dataset": {"name": "digits"}}, ("far below",)),
        ({"backbone": {**UNIT, "weights": "random"}}, ()),
        ({}, ()),
    ],
)
def test_the_lab_report_says_what_holds_the_accuracy_down(facts, tmp_path, tables, said):
    result = section(lab_report(facts(epochs=(5,), tables=tables), tmp_path), "Result")
    every = ("far below", "divided by 255", "Larger pictures would probably", "`cifar10`")
    assert all(text in result for text in said)
    implied = {"far below": ("divided by 255",)}
    allowed = {*said, *(more for text in said for more in implied.get(text, ()))}
    assert not [text for text in every if text in result and text not in allowed]


def test_the_lab_report_has_its_six_parts_and_all_epochs(facts, tmp_path):
    facts = facts(epochs=(5, 3))
    text = lab_report(facts, tmp_path)
    titles = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert titles == ["Aim", "Theory", "Steps", "Program", "Output", "Result"]
    rows = [line for line in text.split("\n") if line.startswith(("| frozen", "| fine-tune"))]
    assert len(rows) == 8
    history = facts.result.phases[1].history
    assert rows[-1] == (
        f"| fine-tune | 3 | {history['loss'][-1]:.4f} | {100 * history['accuracy'][-1]:.1f} % | "
        f"{history['val_loss'][-1]:.4f} | {100 * history['val_accuracy'][-1]:.1f} % |"
    )
    assert "Fine-tuning changed" in section(text, "Theory")


def test_many_epochs_are_thinned_and_the_last_one_stays(facts, tmp_path):
    text = lab_report(facts(epochs=(60,)), tmp_path)
    rows = [line for line in text.split("\n") if line.startswith("| frozen |")]
    assert 20 <= len(rows) <= 26
    assert rows[-1].startswith("| frozen | 60 |")
    assert "One epoch in 3 is shown" in text


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"name": "dense", "units": 64, "dropout": 0.5}, "64 units with ReLU, dropout of 0.5"),
        ({"name": "linear", "pooling": "max"}, "The maximum of each channel"),
        ({"name": "mlp", "units": [256, 64], "dropout": 0.3}, "hidden layers [256, 64]"),
        ({"name": "logistic"}, "logistic regression"),
        ({"name": "prototype"}, "nearest class mean"),
        ({"name": "knn"}, "a vote of the most similar"),
        ({"name": "my_own"}, "The head is `my_own`"),
    ],
)
def test_the_theory_is_that_of_the_head(facts, tmp_path, head, said):
    facts = facts(epochs=(5,), tables={"head": head})
    theory = section(lab_report(facts, tmp_path), "Theory")
    assert said in theory
    assert "Fine-tuning" not in theory
    assert "ln K = 2.30 nats" in theory


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenet_v2", "MobileNetV2 (Sandler"),
        ("mobilenet", "MobileNet (Howard et al., 2017)"),
        ("efficientnet_lite0", "EfficientNet-Lite"),
        ("efficientnet_v2_b0", "EfficientNetV2"),
        ("convnext_tiny", "ConvNeXt"),
        ("resnet50_v2", "ResNet"),
        ("my_net", "The backbone is my\\_net."),
    ],
)
def test_the_theory_is_that_of_the_backbone(facts, tmp_path, name, said):
    backbone = {"name": name, "image_size": 96, "weights": "imagenet"}
    assert said in section(lab_report(facts(tables={"backbone": backbone}), tmp_path), "Theory")


def test_a_plugin_that_is_not_registered_is_named(facts, tmp_path):
    own = {"name": "tests.tiny.TinyBackbone", "image_size": 16}
    program = section(lab_report(facts(tables={"backbone": own}), tmp_path), "Program")
    assert "`backbone tests.tiny.TinyBackbone`" in program
    assert "No installed package" not in section(lab_report(facts(), tmp_path), "Program")


def test_runs_of_before_have_cards_too(write_run):
    folder = write_run(as_recorded_before(make_result()))
    assert "was not measured" in write_card(folder).read_text()
    assert "was not recorded" in write_card(folder, "lab-report").read_text()


def test_how_to_use_works_in_a_real_run_folder(real_run, tmp_path):
    (program,) = programs(write_card(real_run).read_text())
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(real_run / "picture.png")
    said = run_python(program, real_run, tmp_path).strip().split("\n")[-1].split()
    assert said[0] in load_run(real_run).info.class_names
    assert 0.1 <= float(said[1]) <= 1


def test_the_program_repeats_the_run(real_run, tmp_path):
    program, _ = programs(write_card(real_run, "lab-report").read_text())
    said = run_python(program, tmp_path, tmp_path / "cache")
    (folder,) = (tmp_path / "runs").iterdir()
    first, again = load_run(real_run), load_run(folder)
    assert f"Test accuracy: {first.accuracy:.1%}" in said
    np.testing.assert_allclose(again.test.probabilities, first.test.probabilities, atol=1e-4)
    assert again.info.config == first.info.config


def test_the_exercise_in_plain_keras_runs(real_run, tmp_path):
    _, program = programs(write_card(real_run, "lab-report").read_text())
    assert "tlkit" not in program
    said = run_python(program, tmp_path, tmp_path / "cache")
    assert re.search(r"Test accuracy: 0\.\d{4}", said)
    assert "weighted avg" in said
    assert {path.name for path in tmp_path.iterdir()} >= {
        "loss.png", "accuracy.png", "confusion_matrix.png", "model.keras"
    }  # fmt: skip


@pytest.mark.parametrize(
    "tables",
    [
        {"backbone": {**UNIT, "image_size": 96}},
        {"backbone": {**UNIT, "preprocessing": "native"}},
        {"dataset": {"name": "digits"}},
        {"head": {"name": "linear"}},
        {"dataset": {"name": "cifar10", "path": "folder/of/batches"}},
        {"test_time_augmentation": {"mirror": True, "scales": []}},
    ],
)
def test_another_run_is_not_the_exercise(facts, tmp_path, tables):
    base = {
        "backbone": UNIT,
        "workflow": {
            **{"name": "freeze_and_train", "epochs": 5, "batch_size": 32, "learning_rate": 0.001},
            **{"early_stopping": 0, "class_weight": "none"},
        },
    }
    classic = facts(epochs=(5,), validates_on_test=True, tables=base)
    assert len(programs(lab_report(classic, tmp_path))) == 2
    other = facts(epochs=(5,), validates_on_test=True, tables=base | tables)
    assert len(programs(lab_report(other, tmp_path))) == 1
    held_out = facts(epochs=(5,), tables=base)
    assert len(programs(lab_report(held_out, tmp_path))) == 1


LOOKS = {"test_time_augmentation": {"mirror": True, "scales": [1.125]}}
FOUR = "mean of the logits over 4 views: the image and scale 1.125, each also mirrored"


def test_cards_say_which_views_the_model_averages_over(facts, tmp_path):
    card = model_card(facts(tables=LOOKS), tmp_path)
    assert FOUR in card.split("## Classes")[0]
    assert "[test_time_augmentation]" in section(card, "Training")
    report = lab_report(facts(tables=LOOKS), tmp_path)
    assert FOUR in section(report, "Steps")
    assert "Test-time augmentation" in section(report, "Theory")
    alone = {"test_time_augmentation": {"mirror": False, "scales": []}}
    for tables in ({}, alone):
        for write in (model_card, lab_report):
            text = write(facts(tables=tables), tmp_path)
            assert "views" not in text
            assert "test_time_augmentation" not in text
            assert "TestTimeAugmentation" not in text


@pytest.mark.parametrize(
    ("epochs", "tables", "said"),
    [
        ((5,), {}, "each picture runs through it once"),
        ((5,), LOOKS, "each of 4 views of a picture runs through it once"),
        ((5, 3), LOOKS, "each picture runs through it once"),
        ((5,), {"features": {"views": 2}}, "each of 3 views of a picture"),
        ((5,), LOOKS | {"features": {"views": 2}}, "each of 12 views of a picture"),
    ],
)
def test_the_steps_say_how_often_a_picture_runs_through_the_backbone(
    facts, tmp_path, epochs, tables, said
):
    assert said in section(lab_report(facts(epochs=epochs, tables=tables), tmp_path), "Steps")


@pytest.mark.parametrize("write", [model_card, lab_report])
def test_cards_say_what_the_run_started_from(facts, tmp_path, write):
    path = "/home/somebody/runs/20261124-120816-animals"
    tables = {"run": {"name": "x", "start_from": path, "old_classes": "replay"}}
    text = write(facts(lineage=LINEAGE, tables=tables), tmp_path)
    assert "the weights of the finished run `20261124-120816-animals`" in text
    text = text.replace("\\", "")
    assert "It started from the finished run 20261124-120816-animals, test accuracy 87.5 %" in text
    assert "3 of the 500 test images were trained on before this run" in text.lower()
    assert "before it 20261120-101010-[bold]first. It took over the backbone and the head" in text
    if write is lab_report:
        assert 'old_classes="replay"' in text
    else:
        assert "/home/somebody" not in text


def test_the_gap_to_training_is_explained_by_what_the_run_did(facts, tmp_path):
    def gap(**keywords):
        return section(lab_report(facts(epochs=(5,), skill=0.9, **keywords), tmp_path), "Result")

    assert "the mean over 4 views" in gap(tables=LOOKS)
    assert "on single views of the training images, below that" in gap(tables=LOOKS)
    plain = gap(tables={"head": {"name": "linear"}})
    assert "on the training images, below that interval: an epoch's figure" in plain
    assert not any(text in plain for text in ("dropout", "views", "blends"))
    assert "dropout" in gap()
    assert "random views" in gap(tables={"features": {"views": 2}})


@pytest.mark.parametrize("looks", [{}, {"mirror": True, "scales": [1.125]}])
def test_the_program_makes_the_trainer_of_the_run(facts, tmp_path, looks):
    trainer = Trainer(
        {"name": "mobilenet_v2", "image_size": 32, "weights": "random"},
        dataset="digits",
        reporters=[],
        test_images=False,
        test_time_augmentation=TestTimeAugmentation(**looks),
    )
    (program,) = programs(lab_report(facts(tables=trainer.config), tmp_path))
    assert ("TestTimeAugmentation" in program) == bool(looks)
    names = {}
    exec(program.split("result = trainer.run()")[0], names)
    assert names["trainer"].config == trainer.config


def test_paths_are_shortened_wherever_they_stand(facts, tmp_path):
    tables = {
        "dataset": {"name": "folder", "path": "private/me/pets", "more": [{"x": "/home/me/x.csv"}]},
        "backbone": {"name": "kerashub", "weights": "~/secret/w.h5", "preset": "hf://a/b"},
    }
    absolute = Path("private/me/pets").absolute()
    notes = (f"Read {absolute}/train.", "Left private/me/pets out.", "See ~/secret/w.h5.")
    card = model_card(facts(tables=tables, notes=notes), tmp_path)
    assert not [
        text for text in ("private/me", "/home/me", "secret", str(absolute)) if text in card
    ]
    for text in ("Read pets/train", "Left pets out", 'path = "pets"', "x.csv", "hf://a/b"):
        assert text in card


def test_nothing_of_tensorflow_is_loaded_for_a_card(write_run):
    folder = write_run(make_result())
    program = (
        "import sys; from tlkit.card import write_card; write_card(sys.argv[1]); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(folder / "README.md").is_file()


@pytest.mark.parametrize(("confidence", "said"), [(0.999, "too high"), (0.2, "too low")])
def test_limits_say_which_way_the_confidences_are_off(facts, confidence, said):
    found = facts()
    test = found.result.test
    count = len(test.labels)
    bins = (ReliabilityBin(0.0, 1.0, confidence, test.accuracy, count),)
    calibration = Calibration(Reliability(0.5, 0.01, 1.0, bins))
    result = replace(found.result, test=replace(test, calibration=calibration))
    (limit,) = (item for item in replace(found, result=result).limits() if "confidences" in item)
    assert f"{said}: on average it is {100 * confidence:.1f} % sure" in limit
    assert f"{100 * test.accuracy:.1f} % right" in limit
