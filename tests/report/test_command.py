import functools
import sys

import pytest


@pytest.fixture
def call(tlkit_command):
    return functools.partial(tlkit_command, "report")


@pytest.fixture
def opened(monkeypatch):
    found = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(found.append(url)) or True)
    return found


def test_a_run_and_a_folder_of_runs(call, saved_run, opened, tmp_path):
    folder = saved_run().folder
    code, out, err = call(folder)
    assert (code, err, opened) == (0, "", [])
    assert out.startswith(f"{folder / 'report.html'} (")
    code, out, err = call(folder, "--open")
    assert opened == [(folder / "report.html").as_uri()]
    code, out, err = call(tmp_path / "runs", "--open")
    assert out.startswith(str(tmp_path / "runs" / "index.html"))
    assert opened[1:] == [(tmp_path / "runs" / "index.html").as_uri()]


def test_bad_input_exits_2_with_one_error(call, saved_run, tmp_path):
    (tmp_path / "empty").mkdir()
    unfinished = saved_run().folder
    (unfinished / "run.json").unlink()
    for given, message in (
        (tmp_path / "nothing", "There is no run folder"),
        (tmp_path / "empty", "neither the folder of a run nor a folder of runs"),
        (unfinished, "did not finish"),
        (tmp_path / "runs", "only 1 that did not finish"),
        (tmp_path / "runs", f" resume {unfinished}"),
    ):
        code, out, err = call(given)
        assert (code, out) == (2, ""), given
        assert message in err
        assert "Traceback" not in err


def test_unfinished_runs_of_an_index_are_named_with_their_command(call, saved_run, tmp_path):
    saved_run("good")
    unfinished = saved_run("stopped").folder
    (unfinished / "run.json").unlink()
    code, _, err = call(tmp_path / "runs")
    assert code == 0
    assert "1 run there did not finish:" in err
    assert f" resume {unfinished}" in err


def test_a_missing_extra_says_how_to_install_it(call, saved_run, monkeypatch):
    folder = saved_run().folder
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    code, out, err = call(folder)
    assert (code, out) == (2, "")
    assert "pip install 'tlkit[html]'" in err
    assert not (folder / "report.html").exists()


def test_no_browser_is_said(call, saved_run, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    code, _, err = call(saved_run().folder, "--open")
    assert code == 0
    assert "No browser was found" in err
