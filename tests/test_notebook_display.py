import html.parser
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.builtin.reporters.conftest import CIFAR10, NASTY, as_recorded_before, make_result
from tlkit import run_folder

EMPTY = {"br", "hr"}


class Checker(html.parser.HTMLParser):
    """Keeps tags and text, and refuses tags that are not closed in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.cells, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in EMPTY:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


def parse(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def plain(text):
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


def test_the_figures_are_those_of_the_result(tmp_path):
    result = make_result(folder=tmp_path / "a-run", temperature=1.5)
    shown = result._repr_html_()
    words, cells = plain(shown), parse(shown).cells
    assert f"{100 * result.accuracy:.1f} %" in words
    low, high = result.test.accuracy_interval
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f}" in words
    assert str(tmp_path / "a-run") in words
    last = result.phases[-1]
    place = cells.index("fine-tune")
    assert cells[place : place + 7] == [
        "fine-tune",
        "3",
        f"{last.history['loss'][-1]:.4f}",
        f"{100 * last.history['accuracy'][-1]:.1f} %",
        f"{last.history['val_loss'][-1]:.4f}",
        f"{100 * last.history['val_accuracy'][-1]:.1f} %",
        f"{last.seconds:.1f}",
    ]
    deer = result.test.classes[4]
    place = cells.index("deer")
    figures = [f"{100 * value:.1f} %" for value in (deer.precision, deer.recall, deer.f1)]
    assert cells[place + 1 : place + 5] == [*figures, f"{deer.support:,}"]
    matrix = result.test.confusion_matrix
    numbers = [cell for cell in cells[-11 * 10 :] if cell not in CIFAR10]
    assert numbers == [f"{count:,}" for count in matrix.ravel().tolist()]


def test_the_kept_epoch_is_shown_and_the_test_set_as_validation_is_said():
    result = make_result(epochs=(5,), validates_on_test=True)
    result = replace(result, phases=(replace(result.phases[0], kept_epoch=2),))
    cells = parse(result._repr_html_()).cells
    assert "test set as validation loss" in cells
    place = cells.index("2 of 5")
    assert cells[place + 1] == f"{result.phases[0].history['loss'][1]:.4f}"


def test_many_classes_are_cut_and_it_says_so():
    names = tuple(f"kind {number}" for number in range(1000))
    result = make_result(names, count=4000)
    shown = result._repr_html_()
    assert len(shown) < 40_000
    words = plain(shown)
    assert "the first 20 of 1,000 classes" in words
    assert "kind 19" in words
    assert "Most frequent confusions" in words
    cells = parse(shown).cells
    place = cells.index("answer") + 2
    true, answer, count = cells[place : place + 3]
    wrong = result.test.confusion_matrix * ~np.eye(1000, dtype=bool)
    assert int(count) == wrong.max() == wrong[names.index(true), names.index(answer)]


def test_text_from_outside_is_escaped_and_nothing_runs():
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', *NASTY)
    notes = tuple(f"<b>note {number}</b>" for number in range(8))
    result = make_result(names, name="<i>run</i>", notes=notes)
    shown = result._repr_html_()
    checker = parse(shown)
    allowed = {
        "div",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "bdi",
        "ul",
        "li",
        "code",
    }
    assert set(checker.tags) <= allowed
    assert set(checker.attributes) <= {"style", "colspan"}
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "<b>note 4</b>" in plain(shown)
    assert "and 3 more" in plain(shown)
    assert "url(" not in shown


def test_runs_of_before_the_intervals_are_shown_without():
    shown = as_recorded_before(make_result())._repr_html_()
    assert "interval" not in plain(shown)
    assert "calibration" not in plain(shown)


def test_a_run_without_epochs_or_mistakes():
    result = make_result(tuple(f"k{i}" for i in range(30)), epochs=(), skill=1.0)
    assert "Most frequent confusions" in plain(result._repr_html_())


def test_repr_is_one_short_line(tmp_path):
    result = make_result(folder=tmp_path)
    assert len(repr(result.test)) < 120
    assert "images=500" in repr(result.test)
    assert len(repr(result)) < 150 + len(str(tmp_path))
    assert f"{result.accuracy:.4f}" in repr(result)


def test_a_notebook_shows_the_result(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="pip install nbclient ipykernel")
    from nbclient import NotebookClient

    folder = tmp_path / "run"
    folder.mkdir()
    result = make_result(folder=folder)
    run_folder.save(folder, result, ())
    run_folder.finish(folder, result)
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(f"import tlkit\ntlkit.load_run({str(folder)!r})"),
            nbformat.v4.new_code_cell("import sys\nprint('tensorflow' in sys.modules)"),
        ]
    )
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.data["text/html"] == result._repr_html_()
    assert output.data["text/plain"] == repr(result)
    assert notebook.cells[1].outputs[0].text == "False\n"
