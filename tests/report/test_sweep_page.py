import re

import pytest

from tests.report.sweeps import HOSTILE, make_sweep
from tlkit.errors import RunFolderError
from tlkit.report.parallel_coordinates import parallel_coordinates
from tlkit.report.sweep_charts import history, importance
from tlkit.report.sweep_page import read_sweep, write_sweep_report

vl_convert = pytest.importorskip("vl_convert")


def test_the_page_says_what_the_record_holds(tmp_path):
    sweep = make_sweep(tmp_path / "sweep")
    page = write_sweep_report(tmp_path / "sweep").read_text()
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "69.0 %" in visible
    assert "+2.0 points" in visible
    assert "some of it is luck" in visible
    assert "fANOVA over 20 finished trials" in visible
    assert "Not every trial had head.dropout" in visible
    assert f"trial {sweep.best}" in visible.lower() or f">{sweep.best}<" in visible
    assert "tlkit run" in visible
    assert visible.count('<th scope="row"') == sum(t.state == "finished" for t in sweep.trials)


def test_text_from_outside_is_text(tmp_path):
    make_sweep(tmp_path / "sweep")
    page = write_sweep_report(tmp_path / "sweep").read_text()
    assert HOSTILE not in page
    assert "<img src=x" not in page


@pytest.mark.parametrize("trials", [0, 1, 3, 40])
@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_the_charts_are_valid_whatever_there_is_to_draw(tmp_path, trials, metric):
    sweep = make_sweep(
        tmp_path, trials, metric=metric, larger_is_better=metric == "val_accuracy", tested=None
    )
    for chart in (history(sweep), parallel_coordinates(sweep), importance(sweep)):
        if chart is not None:
            vl_convert.vegalite_to_vega({**chart, "width": 600})
    assert write_sweep_report(tmp_path).is_file()


def test_a_line_breaks_at_a_key_that_a_trial_has_not(tmp_path):
    chart = parallel_coordinates(make_sweep(tmp_path))
    rows = [row for layer in chart["layer"] for row in layer["data"]["values"] if "trial" in row]
    missing = [row for row in rows if row["place"] is None]
    assert {row["key"] for row in missing} == {"head. dropout"}
    assert all(0 <= row["place"] <= 1 for row in rows if row["place"] is not None)
    assert {row["trials"] for row in rows} == {"best tenth", "other finished trials"}


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"schema": "tlkit.sweep/1"}', b"\xff"])
def test_a_damaged_record_gets_one_error(tmp_path, content):
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(RunFolderError, match="again"):
        read_sweep(tmp_path)


def test_a_folder_without_a_sweep_gets_one_error(tmp_path):
    with pytest.raises(RunFolderError, match="Cannot read"):
        write_sweep_report(tmp_path)
