import sys

import pytest

from tests.report.conftest import Page
from tests.tiny import Colours, TinyBackbone
from tlkit import PluginError, Trainer, load_run, thumbnails, write_report
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain


def trainer(tmp_path, **settings):
    return Trainer(
        *(TinyBackbone(), "linear", Colours(), FreezeAndTrain(2), ["html"]),
        **({"runs": tmp_path} | settings),
    )


def test_a_run_leaves_a_page_that_its_folder_alone_gives_again(tmp_path):
    result = trainer(tmp_path).run()
    assert result.warnings == ()
    assert {"report.html", "test_images.zip"} <= {path.name for path in result.folder.iterdir()}
    page = Page(result.folder / "report.html")
    assert len(page.data["images"]) == 30
    assert f"{100 * result.accuracy:.1f} %" in page.words()
    first = page.text
    assert "Reports" not in page.words().partition("Where the time went")[2].partition("Repeat")[0]
    again = write_report(load_run(result.folder)).read_text()
    # Only what reporters took is not known before they end.
    known_later = ("Reports", "Other", "Total time", "s in all", "%", "of it training")
    different = set(again.splitlines()) ^ set(first.splitlines())
    assert all(any(word in line for word in known_later) for line in different), different
    assert Page(result.folder / "report.html").data == page.data


def test_a_run_that_keeps_no_images_or_no_folder(tmp_path):
    result = trainer(tmp_path, test_images=False).run()
    assert not (result.folder / thumbnails.FILE).exists()
    assert "No test images to show." in Page(result.folder / "report.html").words()
    assert trainer(tmp_path, runs=None).run().warnings == ()


def test_images_that_cannot_be_written_do_not_end_the_run(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tlkit.thumbnails._write", full)
    result = trainer(tmp_path).run()
    assert len(result.warnings) == 1
    assert "Cannot keep test images" in result.warnings[0]
    assert "No space left on device" in result.warnings[0]
    assert "No space left on device" in Page(result.folder / "report.html").words()


def test_a_missing_extra_ends_the_run_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PluginError, match=r"pip install 'tlkit\[html\]'"):
        trainer(tmp_path).run()
    assert list(tmp_path.iterdir()) == []
