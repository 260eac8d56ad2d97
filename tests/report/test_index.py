import json
import shutil

import pytest

from tlkit import RunFolderError, write_index, write_report


def test_the_index_compares_the_runs_and_links_their_reports(saved_run, read_page, tmp_path):
    first = saved_run("20261124-125124-first run", skill=0.6)
    second = saved_run("20261125-090000-second", skill=0.9)
    write_report(first)
    page = read_page(write_index(tmp_path / "runs"))
    words = page.words()
    for result in (first, second):
        assert f"{100 * result.accuracy:.1f} %" in words
    assert "2026-11-24 12:51" in words
    assert "best: 20261125-090000-second" in words
    links = [item.get("href") for item in page.all("a")]
    assert links == ["#main", "20261124-125124-first%20run/report.html"]
    chart = page.data["charts"]["chart-runs"]
    assert [row["run"] for row in chart["data"]["values"]] == ["second", "first run"]
    assert page.errors == []
    assert page.size < 1_500_000
    again = page.text
    assert write_index(tmp_path / "runs").read_text() == again


def test_the_index_names_the_settings_that_differ(saved_run, read_page, tmp_path):
    first, second = saved_run("20261124-125124-same"), saved_run("20261125-090000-same")
    config = first.folder / "run.json"
    record = json.loads(config.read_text())
    record["info"]["config"]["workflow"]["epochs"] = 77
    config.write_text(json.dumps(record))
    page = read_page(write_index(tmp_path / "runs"))
    assert "epochs 77" in page.words()
    assert "seed" not in page.words()
    chart = page.data["charts"]["chart-runs"]
    names = {row["run"] for row in chart["data"]["values"]}
    assert names == {first.folder.name, second.folder.name}


def test_the_index_says_what_a_run_started_from(saved_run, read_page, tmp_path):
    saved_run("20261124-125124-same")
    config = saved_run("20261125-090000-same").folder / "run.json"
    record = json.loads(config.read_text())
    record["info"]["config"]["run"] = {"start_from": "/home/somebody/runs/20261124-125124-same"}
    config.write_text(json.dumps(record))
    words = read_page(write_index(tmp_path / "runs")).words()
    assert "start_from 20261124-125124-same" in words
    assert "/home/somebody" not in words


def test_runs_that_cannot_be_read_are_named_and_left_out(saved_run, read_page, tmp_path):
    saved_run("good")
    bad = saved_run("<b>bad").folder
    (bad / "run.json").write_text("{")
    open_ended = saved_run("stopped").folder
    (open_ended / "run.json").unlink()
    (tmp_path / "runs" / "no run").mkdir()
    words = read_page(write_index(tmp_path / "runs")).words()
    assert "1 finished , 2 not" in words or "1 finished, 2 not" in words
    assert "<b>bad : " in words or "<b>bad: " in words
    assert "is damaged" in words
    assert "stopped : did not finish" in words or "stopped: did not finish" in words
    assert "no run" not in words


def test_runs_of_different_test_images_are_not_compared_silently(saved_run, read_page, tmp_path):
    import json

    saved_run("a")
    path = saved_run("b").folder / "run.json"
    warning = "not all tested on the same images"
    assert warning not in read_page(write_index(tmp_path / "runs")).words()
    record = json.loads(path.read_text())
    record["fingerprints"]["test"] = "0123456789"
    path.write_text(json.dumps(record))
    words = read_page(write_index(tmp_path / "runs")).words()
    assert warning in words
    assert "0123456" in words


def test_a_folder_without_finished_runs_is_an_error(saved_run, tmp_path):
    folder = saved_run("a").folder
    (folder / "run.json").unlink()
    with pytest.raises(RunFolderError, match="no finished run, only 1 that did not finish"):
        write_index(tmp_path / "runs")
    shutil.rmtree(folder)
    with pytest.raises(RunFolderError, match="no finished run"):
        write_index(tmp_path / "runs")


def test_settings_that_change_nothing_in_a_run_do_not_differ(saved_run, read_page, tmp_path):
    saved_run("a")
    path = saved_run("b", idle_options={"workflow": ("epochs",)}).folder / "run.json"
    record = json.loads(path.read_text())
    record["info"]["config"]["workflow"]["epochs"] = 77
    path.write_text(json.dumps(record))
    assert "epochs 77" not in read_page(write_index(tmp_path / "runs")).words()
