import sys

import numpy as np
import pytest
from PIL import Image

from tlkit.bench import run_bench
from tlkit.bench.report import draw, markdown, summarise, write_report


def measurement(case, variant, round_, seconds, accuracy=(0.9,)):
    return {
        "case": case,
        "variant": variant,
        "round": round_,
        "job_seconds": seconds,
        "wall_seconds": seconds + 5,
        "process_start_seconds": 5.0,
        "peak_memory_bytes": 1_500_000_000 + round_,
        "accuracy": list(accuracy),
    }


def timing(variant, round_, seconds):
    return {"case": "start-up", "variant": variant, "round": round_, "wall_seconds": seconds}


@pytest.fixture
def document():
    found = []
    for round_, factor in ((1, 1.0), (2, 1.2), (3, 0.9)):
        found += [
            measurement("classic", "plain", round_, 100 * factor),
            measurement("classic", "cold", round_, 10 * factor),
            measurement("classic", "warm", round_, 1.0),
            measurement("pixels-96", "plain", round_, 1000.0),
            measurement("pixels-96", "cold, tensorflow", round_, 100.0),
            measurement("pixels-96", "warm", round_, 2.0),
            measurement("five-heads", "plain", round_, 500.0, (0.095, 0.5)),
            timing("tlkit --help", round_, 0.1 * factor),
            timing("tlkit plugins", round_, 0.5),
        ]
    found.append(
        {"case": "start-up", "variant": "imports", "round": 1, "tensorflow_imported": False}
    )
    return {
        "cases": ["classic", "pixels-96", "five-heads", "start-up"],
        "measurements": found,
        "data": {"path": "d.npz", "images": None},
        "left_out": [{"case": "pixels-96", "variant": "cold, openvino", "reason": "not there"}],
        "environment": {"python": "3.11", "processor": "Fast\x1b[31m"},
        "memory_bytes": 24 * 2**30,
        "command": ["python", "-m", "tlkit", "bench", "a b.npz"],
    }


def test_medians_ratios_and_extremes(document):
    summary = summarise(document)
    cold, warm, *_ = summary["variants"]
    assert cold["plain"]["seconds"] == {"median": 100.0, "min": 90.0, "max": 120.0}
    assert cold["ratio"] == pytest.approx(10)
    assert cold["wall_ratio"] == pytest.approx(105 / 15)
    assert cold["reached"] is False
    assert warm["reached"] is True
    assert warm["ratio_by_round"] == {"median": 100.0, "min": 90.0, "max": 120.0}
    assert warm["tlkit"]["rounds"] == 3
    assert cold["plain"]["peak_memory_bytes"] == 1_500_000_003


def test_a_case_with_one_side_only_has_no_row(document):
    assert "five-heads" not in {row["case"] for row in summarise(document)["variants"]}


def test_the_table(document):
    text = markdown(document, summarise(document))
    lines = text.splitlines()
    assert (
        "| classic | cold | 100.0 (90.0 to 120.0) | 10.0 (9.0 to 12.0) | 10.0 | 12 | **no** | "
        "90.0 % / 90.0 % | 1,500 / 1,500 | 5.0 / 5.0 | 7.0 | 3 |"
    ) in lines
    assert any(
        line.startswith("| pixels-96 | warm | 1000.0 | 2.0 | 500.0 | - | - |") for line in lines
    )
    assert "Left out: pixels-96, cold, openvino: not there." in lines
    assert "| `tlkit --help` | 0.10 (0.09 to 0.12) | 0.4 | yes | 3 |" in lines
    assert "| `tlkit plugins` | 0.50 | 0.4 | **no** | 3 |" in lines
    assert "`tlkit plugins` imports TensorFlow: no." in lines
    assert "- memory: 24.0 GiB" in lines
    assert "python -m tlkit bench 'a b.npz'" in lines
    assert "\x1b" not in text
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in tables} == {13, 6}
    assert "only" not in text.split("## Machine")[0].split("| Case")[0]


def test_a_subset_of_the_images_is_said_first(document):
    document["data"]["images"] = 2000
    text = markdown(document, summarise(document))
    assert "**On 2,000 training images only**" in "\n".join(text.splitlines()[:4])
    assert {row["reached"] for row in summarise(document)["variants"]} == {None}


def test_five_accuracies_are_given_as_a_range(document):
    document["measurements"].append(measurement("five-heads", "cold", 1, 20.0, (0.1, 0.5)))
    text = markdown(document, summarise(document))
    assert "| 9.5 % to 50.0 % / 10.0 % to 50.0 % |" in text
    assert "| 1 to 3 |" in text


def test_the_picture_shows_the_bars_and_the_goals(document, tmp_path):
    write_report(document, tmp_path)
    with Image.open(tmp_path / "bench.png") as picture:
        assert 900 <= picture.width <= 1100
        assert 350 <= picture.height <= 650
        assert np.asarray(picture.convert("L")).std() > 5
    axes = draw(summarise(document)["variants"]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 100, 10, 500])
    goals = [segment[0][0] for segment in axes.collections[0].get_segments()]
    assert goals == [12, 50, 5]
    assert [text.get_text() for text in axes.texts] == ["10.0 x", "100.0 x", "10.0 x", "500.0 x"]


def test_without_ratios_there_is_no_picture(document, tmp_path):
    document["cases"] = ["start-up"]
    document["data"] = None
    (tmp_path / "bench.png").write_text("old")
    write_report(document, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bench.md"]
    assert "| Case |" not in (tmp_path / "bench.md").read_text()


def test_a_bench_leaves_its_report_and_nothing_else(fakes, data, tmp_path):
    run_bench(["classic", "start-up"], data, 1, tmp_path / "out", None, lambda text: None)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bench.json", "bench.md", "bench.png"]
    text = (tmp_path / "out" / "bench.md").read_text()
    assert "- tlkit: " in text
    assert sys.orig_argv[0] in text
