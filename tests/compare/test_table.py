import csv
import dataclasses
import io

import pytest
from rich.console import Console

from tlkit.compare.files import write
from tlkit.compare.plot import draw, shorten
from tlkit.compare.records import Cell, Comparison, Figures, PairedTest
from tlkit.compare.summary import best_two, summarise, with_most_images
from tlkit.compare.table import sentence, show

FIGURES = Figures(
    accuracy=0.812,
    interval=(0.787, 0.835),
    validation_accuracy=0.82,
    test_images=1000,
    test_fingerprint="a",
    labels_fingerprint="b",
    features_seconds=33.1,
    features_stored=False,
    training_seconds=3.2,
    total_seconds=40.0,
    parameters=2_400_000,
    model_bytes=9_700_000,
    images_per_second=1024.0,
    train_images=1800,
    smallest_class=180,
)
TEST = PairedTest("A", "B", 41, 18, 1000, 0.004, 0.004, 0.023, (0.008, 0.038))


def cell(backbone="mobilenet_v2", head="dense", seed=0, few_shot=0, **figures):
    found = dataclasses.replace(FIGURES, **figures)
    return Cell(backbone, head, seed, "", figures=found, few_shot=few_shot)


def shown(comparison, width, terminal=True):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    show(comparison, console)
    return file.getvalue()


def test_a_pair_as_a_sentence():
    assert sentence(TEST) == (
        "A is right on 41 images that B gets wrong, B on 18 that A gets wrong: p = 0.004: larger "
        "than chance at 5 %. Difference +2.3 points (95 %: +0.8 to +3.8)."
    )
    several = dataclasses.replace(TEST, adjusted_p_value=0.12)
    assert "p = 0.004 (p = 0.120 after Holm's correction for 3 pairs): no larger than chance" in (
        sentence(several, 3)
    )
    assert "p < 0.001: larger" in sentence(dataclasses.replace(TEST, p_value=1e-9))


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_keeps_within_the_terminal(width):
    cells = (
        cell("efficientnet_v2_b0"),
        cell("efficientnet_v2_b0", "linear", features_stored=True),
        Cell("resnet50_v2", "dense", 0, "", error="no weights"),
    )
    text = shown(Comparison(cells, (TEST,)), width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "33.1*" in flat
    assert "Failed: resnet50_v2, dense, seed 0: no weights" in flat
    assert ("Validation" in flat) == (width == 120)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_runs_side_by_side_keep_their_numbers_whole(width):
    cells = tuple(
        dataclasses.replace(cell(head=head), name=f"20261124-15430{number}-{head}")
        for number, head in enumerate(("logistic", "knn"))
    )
    text = shown(Comparison(cells), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for word in ("20261124-154300-", "20261124-154301-", "logistic", "81.2", "(78.7-83.5)"):
        assert word in words
    assert ("Params" in words) == (width == 80)


def test_text_from_outside_moves_no_cursor():
    cells = (Cell("\x1b[31mred", "[bold]", 0, "", error="\x1b[2J"), cell("\x1b[31mred", "[bold]"))
    text = shown(Comparison(cells), 200)
    assert "\x1b[31m" not in text
    assert "[bold]" in text


def test_seeds_become_mean_and_deviation():
    rows = summarise([cell(seed=0, accuracy=0.80), cell(seed=1, accuracy=0.82), cell(head="mlp")])
    assert rows[0].accuracy == pytest.approx(0.81)
    assert rows[0].deviation == pytest.approx(0.014142, abs=1e-6)
    assert rows[0].interval is None
    assert rows[1].interval == (0.787, 0.835)
    text = shown(Comparison((cell(seed=0, accuracy=0.80), cell(seed=1, accuracy=0.82))), 120)
    assert "81.0 ± 1.4" in text


@pytest.mark.parametrize("width", [80, 120])
def test_several_few_shot_have_a_column(width):
    cells = [cell(few_shot=count, accuracy=value, seed=seed)
             for count, value in ((1, 0.4), (1000, 0.6), (0, 0.7)) for seed in (0, 1)]  # fmt: skip
    rows = summarise(cells)
    assert [(row.few_shot, row.seeds) for row in rows] == [(1, (0, 1)), (1000, (0, 1)), (0, (0, 1))]
    text = shown(Comparison(tuple(cells)), width)
    assert max(map(len, text.splitlines())) <= width
    lines = [line.split() for line in text.splitlines() if "±" in line][:3]
    assert [line[2:4] for line in lines] == [["1", "40.0"], ["1,000", "60.0"], ["all", "70.0"]]
    assert "per class" in text
    assert "per class" not in shown(Comparison((cell(few_shot=5), cell("a", few_shot=5))), width)


def test_a_failed_cell_is_named_with_its_images_per_class():
    failed = Cell("a", "b", 3, "", error="x", few_shot=1)
    assert "Failed: a, b, 1 image per class, seed 3: x" in shown(Comparison((failed, cell())), 120)


def test_the_largest_few_shot_stands_for_the_others():
    cells = [cell(few_shot=count) for count in (20, 5)]
    failed = Cell("mobilenet_v2", "dense", 0, "", error="x", few_shot=0)
    assert [row.few_shot for row in with_most_images(summarise([*cells, failed]))] == [20]
    assert [row.few_shot for row in with_most_images(summarise([*cells, cell()]))] == [0]
    assert (
        draw(summarise(cells))
        .get_suptitle()
        .split("\n")[1]
        .startswith("With 20 images per class. Whiskers: ")
    )
    assert (
        draw(summarise([*cells, cell()]))
        .get_suptitle()
        .split("\n")[1]
        .startswith("With all images. Whiskers: ")
    )
    assert draw(summarise(cells[:1])).get_suptitle().split("\n")[1].startswith("Whiskers: ")
    runs = [dataclasses.replace(item, name=str(item.few_shot)) for item in cells]
    assert len(with_most_images(summarise(runs))) == 2


def test_the_csv_has_plain_cells_and_runs_no_formula(tmp_path):
    cells = (cell("=cmd()"), Cell("a", "b", 1, "", error="+1"))
    write(Comparison(cells), tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert first["backbone"] == "'=cmd()"
    assert (first["interval_low"], first["interval_high"]) == ("0.787", "0.835")
    assert first["accuracy"] == "0.812"
    assert second["error"] == "'+1"
    assert second["accuracy"] == ""


def test_the_best_two_without_validation_are_those_of_the_test_set():
    cells = [cell(head=name, accuracy=value, validation_accuracy=None) for name, value in
             (("a", 0.5), ("b", 0.9), ("c", 0.7))]  # fmt: skip
    assert [row.head for row in best_two(summarise(cells))] == ["b", "c"]
    assert best_two(summarise(cells[:1])) is None


@pytest.mark.parametrize("count", [1, 6, 12, 30])
@pytest.mark.parametrize("name", ["head", "mlp units=[1024,512,256] dropout=0.5 pooling=max of"])
def test_labels_and_numbers_of_the_picture_touch_nothing(count, name):
    cells = [
        cell(f"backbone_{index // 3}", f"{name}_{index % 3}", accuracy=0.8 + 0.0001 * index)
        for index in range(count)
    ]
    figure = draw(summarise(cells))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    assert figure.bbox.width <= 1000  # or its letters are too small where it is shown at 700 pixels
    labels = [text.get_window_extent(renderer) for text in figure.axes[0].get_yticklabels()]
    assert len(labels) == count
    assert not any(a.overlaps(b) for index, a in enumerate(labels) for b in labels[:index])
    assert min(box.x0 for box in labels) >= 0
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert len(boxes) == count
        assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
        assert max(box.x1 for box in boxes) <= axes.get_window_extent(renderer).x1 + 1
    title = figure._suptitle.get_window_extent(renderer)
    assert not any(title.overlaps(text.get_window_extent(renderer)) for text in axes.texts)


def test_the_picture_shows_the_figures_the_best_row_first():
    cells = [
        cell(head="a", accuracy=0.7, interval=(0.65, 0.74)),
        cell(head="b", accuracy=0.8, interval=(0.78, 0.83)),
    ]
    rows = summarise(cells)
    accuracy, seconds, parameters, size = draw(rows).axes
    assert [text.get_text().split("\n")[1] for text in accuracy.get_yticklabels()] == ["b", "a"]
    points = [container.lines[0] for container in accuracy.containers]
    assert [list(line.get_xdata()) for line in points] == [
        pytest.approx([80.0]), pytest.approx([70.0])
    ]  # fmt: skip
    low, high = accuracy.containers[0].lines[1]
    assert (low.get_xdata()[0], high.get_xdata()[0]) == pytest.approx((78.0, 83.0))
    for axes, wanted in (
        (seconds, rows[1].seconds),
        (parameters, rows[1].parameters / 1e6),
        (size, rows[1].model_bytes / 1e6),
    ):
        assert axes.patches[0].get_width() == pytest.approx(wanted)
        assert axes.get_xlim()[0] == 0
        assert "(" in axes.get_xlabel()


def test_rows_of_one_backbone_have_one_colour():
    cells = [cell(backbone, head) for backbone in ("x", "y") for head in ("a", "b")]
    axes = draw(summarise(cells)).axes[1]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert colours[0] == colours[1] != colours[2] == colours[3]


def test_long_names_keep_their_ends():
    assert shorten("abcdefghij", 10, 4) == "abcdefghij"
    assert shorten("abcdefghijk", 10, 4) == "abcde…hijk"


def test_what_is_not_known_is_said_in_the_picture():
    rows = summarise([cell(), cell(head="linear", features_seconds=None)])
    figure = draw(rows)
    assert [text.get_text() == "not known" for text in figure.axes[1].texts].count(True) == 1
    assert not any(text.get_text() == "not known" for text in figure.axes[2].texts)
    assert draw(summarise([Cell("a", "b", 0, "", error="x")])) is None
