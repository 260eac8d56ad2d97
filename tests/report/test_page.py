import base64
import dataclasses
import hashlib
import math
import re
import tomllib

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builtin.reporters.conftest import LINEAGE, as_recorded_before, make_result
from tests.report.conftest import HOSTILE, make_pictures
from tlkit import Extraction, RunFolderError, load_run, thumbnails, write_report
from tlkit.report.page import render_report

LOADING = ("src", "href", "srcset", "poster", "action", "formaction", "background", "data")


def test_the_page_says_what_the_run_says(saved_run, read_page):
    result = saved_run(temperature=1.4, notes=("A note.",))
    page = read_page(write_report(load_run(result.folder)))
    words = page.words()
    accuracy = f"{100 * result.accuracy:.1f} %"
    assert accuracy in words
    assert "2026-11-24 12:51" in words
    assert "mobilenet_v2 with dense on cifar10" in words
    assert "A note." in words
    assert f"tlkit run {result.folder}/config.toml" in words
    (config,) = [item for item in page.all("pre") if item.get("id") == "config"]
    expected = tomllib.loads((result.folder / "config.toml").read_text())
    assert tomllib.loads(config.text) == expected
    for item in result.test.classes:
        assert f"{100 * item.f1:.1f} %" in words
    assert set(page.data["charts"]) == {
        "chart-loss",
        "chart-accuracy",
        "chart-reliability",
        "chart-confidence",
    }
    assert page.errors == []


def test_the_setup_says_which_views_the_model_averages_over(saved_run, read_page):
    config = make_result().info.config
    looks = {"test_time_augmentation": {"mirror": True, "scales": []}}
    with_views = saved_run(config={**config, **looks})
    words = read_page(write_report(with_views)).words()
    assert "Test time mean over 2 views: the image and its mirror image" in words
    assert "Test time mean" not in read_page(write_report(saved_run("other"))).words()


def test_the_setup_says_what_the_run_started_from(saved_run, read_page):
    words = read_page(write_report(saved_run(lineage=LINEAGE))).words()
    assert "Starts from 20261124-120816-animals, test accuracy 87.5 %" in words
    assert "Old classes 87.5 % right before the first step" in words
    assert "/home/somebody" not in words


def test_the_matrix_and_the_images_are_those_of_the_run(saved_run, read_page):
    result = saved_run()
    data = read_page(write_report(result)).data
    flat = data["matrix"]
    matrix = result.test.confusion_matrix
    found = {tuple(flat[i : i + 2]): flat[i + 2] for i in range(0, len(flat), 3)}
    assert found == {
        (row, column): matrix[row, column]
        for row in range(10)
        for column in range(10)
        if matrix[row, column]
    }
    stored = {item.index: item for item in thumbnails.load(result.folder)}
    assert len(data["images"]) == len(stored)
    for image in data["images"]:
        kind, _, content = image["source"].partition(";base64,")
        assert kind == "data:image/webp"
        assert base64.b64decode(content) == stored[image["index"]].content
        assert image["true"] == result.test.labels[image["index"]]
        assert image["predicted"] == result.test.predictions[image["index"]]
        shares = result.test.probabilities[image["index"]]
        assert image["true"] in [label for label, _ in image["top"]]
        for label, share in image["top"]:
            assert share == pytest.approx(shares[label], abs=1e-4)
    mistakes = [data["images"][place]["index"] for place in data["mistakes"]]
    assert mistakes == result.test.confident_mistakes[: thumbnails.GALLERY].tolist()
    uncertain = [data["images"][place]["index"] for place in data["uncertain"]]
    assert uncertain == result.test.least_certain[: thumbnails.GALLERY].tolist()


def test_the_page_loads_nothing_and_runs_its_own_scripts_only(saved_run, read_page):
    page = read_page(write_report(saved_run()))
    (policy,) = [
        item.get("content")
        for item in page.all("meta")
        if item.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    scripts = [item for item in page.all("script") if item.get("type") != "application/json"]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(item.text.encode()).digest()).decode()}'"
        for item in scripts
    ]
    assert rules["script-src"].split() == hashes
    assert len(hashes) == 2
    for item in page.tree.iter():
        for key in LOADING:
            value = item.get(key)
            assert value is None or value.startswith(("#", "data:")), (item.tag, key, value)
        assert not any(key.startswith("on") for key in item.attrib), item.attrib
    assert "@import" not in page.text
    assert not re.search(r"url\((?!data:)", page.all("style")[0].text)


def test_text_from_outside_stays_text(saved_run, read_page):
    result = saved_run(
        class_names=HOSTILE,
        names=tuple(['"><script>alert(3)</script>\u202e'] * 500),
        notes=("</p><script>alert(2)</script>", "\x1b[31m"),
        name="</title><script>alert(4)</script>",
    )
    page = read_page(write_report(result))
    assert len(page.all("script")) == 3
    assert all(not item.get("onerror") for item in page.all("img"))
    assert page.data["classes"][10] == "</script><script>alert(1)</script>"
    assert "مرحبا" in page.data["classes"]
    assert "{{ 7*7 }}" in page.words()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.text)
    assert page.errors == []


ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=90)


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY_TEXT, min_size=2, max_size=4), ANY_TEXT, ANY_TEXT)
def test_any_text_is_shown_and_changes_no_structure(names, note, title):
    def page(names, note, title):
        result = make_result(tuple(names), 40, notes=(note,), name=title)
        return html5lib.HTMLParser(strict=True).parse(render_report(result))

    plain = [item.tag for item in page(["a"] * len(names), "a", "a").iter()]
    assert [item.tag for item in page(names, note, title).iter()] == plain


@pytest.mark.parametrize(("classes", "count"), [(100, 3000), (1000, 6000)])
def test_many_classes_stay_under_3_mb(tmp_path, saved_run, read_page, classes, count):
    names = tuple(f"'<{index} a class with a rather long name>'" * 2 for index in range(classes))
    result = saved_run(
        class_names=names,
        count=count,
        images=make_pictures(count, 60, 60),
        names=tuple("'" * 200 for _ in range(count)),
        class_counts=tuple(range(1, classes + 1)),
    )
    page = read_page(write_report(result))
    assert page.size < 3_000_000
    assert 100 < len(page.data["images"]) <= len(thumbnails.load(result.folder))
    assert len(page.data["matrix"]) // 3 == (result.test.confusion_matrix > 0).sum()


def test_images_that_there_is_no_room_for_are_left_out_from_the_end(saved_run, monkeypatch):
    result = saved_run()
    pictures = thumbnails.load(result.folder)
    whole = len(render_report(result, pictures).encode())
    monkeypatch.setattr("tlkit.report.page.MAX_BYTES", whole - 20_000)
    page = render_report(result, pictures)
    assert len(page.encode()) < whole - 20_000
    shown = page.count("data:image/webp;base64,")
    assert 0 < shown < len(pictures)
    assert f"holds {shown} of 500 test images" in page


def test_a_page_without_images_says_why(saved_run, read_page):
    result = saved_run(images=None)
    page = read_page(write_report(result))
    assert "No test images to show. The run folder has no test_images.zip." in page.words()
    assert page.data["images"] == page.data["mistakes"] == []
    (result.folder / thumbnails.FILE).write_text("damaged")
    assert "test_images.zip is damaged" in read_page(write_report(result)).words()


def test_images_of_another_run_are_not_shown(saved_run):
    result = saved_run()
    item = thumbnails.load(result.folder)[0]
    others = [dataclasses.replace(item, index=index) for index in (-1, 500, 10**9)]
    assert "data:image/webp" not in render_report(result, others)


def test_the_same_folder_gives_the_same_bytes(saved_run):
    result = saved_run()
    first = write_report(load_run(result.folder)).read_bytes()
    assert write_report(load_run(result.folder)).read_bytes() == first
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "config.toml",
        "predictions.npz",
        "report.html",
        "run.json",
        "test_images.zip",
    ]


@pytest.mark.parametrize(
    "run",
    [
        {"loss": math.nan},
        {"loss": math.inf, "validation": False},
        {"epochs": ()},
        {"epochs": (1,)},
        {"epochs": (3000, 2000)},
        {"skill": 1.0},
        {"missing_class": True},
        {"class_names": ("a", "b"), "validates_on_test": True},
        {"temperature": 0.7, "applied": True},
        {"count": 1},
    ],
)
def test_runs_of_all_kinds_have_a_page(saved_run, read_page, run):
    result = saved_run(**run)
    page = read_page(write_report(result))
    assert page.errors == []
    assert page.size < 1_500_000
    assert "NaN" not in page.all("script")[0].text
    if run.get("epochs") == ():
        assert "recorded no epochs" in page.words()
    if run.get("epochs") == (1,):
        assert "One epoch makes no curve" in page.words()
        assert "chart-loss" not in page.data["charts"]
    if run.get("skill") == 1.0:
        assert "No test image was confused." in page.words()


def test_a_run_of_an_earlier_version_has_a_page(saved_run, read_page):
    page = read_page(write_report(as_recorded_before(saved_run())))
    assert "recorded no calibration" in page.words()
    assert "95 % interval" not in page.words()


def test_time_engines_and_leakage_are_shown(saved_run, read_page):
    extraction = Extraction("train", "openvino", 900, 32, 3.0, {"read": 1.0, "forward": 3.0})
    result = saved_run(duplicates={"test": 3, "train": 5}, class_counts=(1,) * 9 + (7,))
    page = read_page(write_report(dataclasses.replace(result, extractions=(extraction,))))
    words = page.words()
    assert "3 test images are also training images" in words
    assert "1 to 7 in each class" in words
    assert "300 images/s" in words
    assert "read 25 %, forward 75 %" in words
    assert "Extracting features 33.1 s 67.7 %" in words


def test_a_config_with_python_objects_says_that_it_does_not_repeat(saved_run, read_page):
    plain = read_page(write_report(saved_run("a"))).words()
    config = {"dataset": {"name": "arrays", "images": make_pictures(2)}}
    words = read_page(write_report(saved_run("b", config=config))).words()
    assert "repeats from the program that made it" in words
    assert "repeats from the program that made it" not in plain


def test_a_run_without_a_folder_has_no_report():
    with pytest.raises(RunFolderError, match="was not saved"):
        write_report(make_result())


def test_what_changes_nothing_is_marked_in_the_config_and_left_out_of_the_setup(
    saved_run, read_page
):
    result = saved_run(idle_options={"workflow": ("learning_rate",)})
    page = read_page(write_report(load_run(result.folder)))
    (config,) = [item for item in page.all("pre") if item.get("id") == "config"]
    marked = [line for line in config.text.split("\n") if "changes nothing in this run" in line]
    assert [line.partition(" = ")[0] for line in marked] == ["learning_rate"]
    assert tomllib.loads(config.text) == tomllib.loads((result.folder / "config.toml").read_text())
    assert page.words().count("learning_rate") == 1


def test_the_page_has_the_date_of_the_run(saved_run, read_page):
    result = saved_run(began="2026-11-25T08:00:00+01:00")
    assert "2026-11-25 08:00 UTC+01:00" in read_page(write_report(result)).words()
