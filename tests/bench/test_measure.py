import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tlkit.bench import NAMES, measure, run_bench
from tlkit.bench.cases import CASES
from tlkit.bench.child import run_child
from tlkit.bench.measure import imports_module
from tlkit.bench.results import Results
from tlkit.bench.sides import measure_plain, measure_tlkit
from tlkit.errors import ConfigError, TlkitError


def python(code, *arguments):
    return [sys.executable, "-c", code, *arguments]


@pytest.fixture
def bench(data, tmp_path):
    def bench(*cases, rounds=1, images=None, data=data):
        said = []
        document = run_bench(cases, data, rounds, tmp_path / "out", images, said.append)
        return document, said

    return bench


def test_a_child_is_timed_and_its_output_kept():
    code = "import sys, time; time.sleep(0.2); print('out'); print('err', file=sys.stderr)"
    child = run_child(python(code))
    assert 0.2 <= child.wall_seconds < 20
    assert (child.stdout, child.stderr) == ("out\n", "err\n")


def test_the_peak_memory_is_that_of_this_child_alone():
    large = run_child(python("x = bytearray(b'x') * 600_000_000"))
    small = run_child(python("pass"))
    assert 6e8 < large.peak_memory_bytes < 8e8
    assert small.peak_memory_bytes < 1e8


def test_the_memory_of_the_bench_itself_does_not_count():
    code = (
        "import sys; from tlkit.bench.child import run_child; x = bytearray(b'x') * 400_000_000;"
        "print(run_child([sys.executable, '-c', 'pass']).peak_memory_bytes)"
    )
    assert int(run_child(python(code)).stdout) < 1e8


def test_variables_are_added_to_the_environment(monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    code = "import os; print(os.environ['KEPT'], os.environ['ADDED'])"
    assert run_child(python(code), {"ADDED": "2"}).stdout == "1 2\n"


def test_a_failure_names_the_command_and_its_last_lines():
    code = "import sys; [print('line', n) for n in range(50)]; sys.exit('\\x1b[31mbroken')"
    with pytest.raises(TlkitError) as caught:
        run_child(python(code, "an argument"))
    text = str(caught.value)
    assert "exit code 1" in text
    assert "'an argument'" in text
    assert "\\x1b[31mbroken" in text
    assert "line 49" in text
    assert "line 30\n" not in text


def test_a_killed_child_is_said_to_be_killed():
    with pytest.raises(TlkitError, match=r"signal 9 \(out of memory\?\)"):
        run_child(python("import os; os.kill(os.getpid(), 9)"))


def test_a_command_that_is_not_there():
    with pytest.raises(TlkitError, match="Cannot run /no/such/command: No such file"):
        run_child(["/no/such/command"])


HEARTBEAT = """
import sys, time
end = time.monotonic() + 60
with open(sys.argv[1], "w", buffering=1) as file:
    while time.monotonic() < end:
        print("alive", file=file)
        time.sleep(0.01)
"""


def wait_for(path):
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.stat().st_size


def is_still(path):
    before = path.stat().st_size
    time.sleep(0.5)
    return path.stat().st_size == before


def test_an_interrupt_ends_the_child(monkeypatch, tmp_path):
    path = tmp_path / "alive"
    real = subprocess.Popen.wait

    def interrupt(self, timeout=None):
        monkeypatch.setattr(subprocess.Popen, "wait", real)
        wait_for(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_child(python(HEARTBEAT, str(path)))
    assert is_still(path)


def test_a_bench_that_is_killed_takes_its_child_along(tmp_path):
    path = tmp_path / "alive"
    code = "import sys; from tlkit.bench.child import run_child; run_child(sys.argv[1:])"
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    bench = subprocess.Popen(python(code, *python(HEARTBEAT, str(path))), env=variables)
    wait_for(path)
    bench.kill()
    bench.wait()
    time.sleep(0.3)
    assert is_still(path)


def test_plain_and_tlkit_commands(tmp_path):
    case = CASES["pixels-96"]
    command = measure.plain_command(case, tmp_path / "d.npz", tmp_path / "o")
    assert command[2].endswith("plain_keras.py")
    assert Path(command[2]).is_file()
    assert command[3] == str(tmp_path / "d.npz")
    (command,) = measure.tlkit_commands(case.variants[0], tmp_path / 'a "b"=c.npz', tmp_path / "o")
    assert command[1:5] == ["-m", "tlkit", "run", "cifar10"]
    from tlkit.config.reading import override

    tables = {}
    override(tables, command[command.index("--runs") - 1])
    assert tables == {"dataset": {"path": str(tmp_path / 'a "b"=c.npz')}}


def test_the_plain_side_must_end_in_its_json(tmp_path):
    with pytest.raises(TlkitError, match="not its JSON"):
        measure_plain(python("print('Epoch 1')"), tmp_path / "o")
    with pytest.raises(TlkitError, match="not its JSON"):
        measure_plain(python("pass"), tmp_path / "o")


def test_the_tlkit_side_must_leave_a_run(tmp_path):
    with pytest.raises(TlkitError, match="left 0 finished runs"):
        measure_tlkit([python("pass")], tmp_path / "o", tmp_path / "c")


def test_rounds_alternate_and_each_begins_with_an_empty_cache(bench, fakes):
    document, said = bench("classic", rounds=2)
    assert fakes() == ["plain", "cold cold", "warm warm"] * 2
    assert [(m["variant"], m["round"]) for m in document["measurements"]] == [
        (name, number) for number in (1, 2) for name in ("plain", "cold", "warm")
    ]
    plain, cold, warm = document["measurements"][:3]
    assert (plain["job_seconds"], cold["job_seconds"], warm["job_seconds"]) == (24.0, 2.0, 0.5)
    assert cold["process_start_seconds"] == cold["wall_seconds"] - 2.0
    cold, warm = document["summary"]["variants"]
    assert (cold["ratio"], cold["goal"], cold["reached"]) == (12.0, 12, True)
    assert (warm["ratio"], warm["reached"]) == (48.0, False)
    assert any("round 2 of 2" in line for line in said)


def test_five_heads_share_one_cache_and_add_up(bench, fakes):
    document, _ = bench("five-heads")
    assert fakes() == ["plain", "cold cold", *["cold warm"] * 4]
    cold = document["measurements"][1]
    assert cold["job_seconds"] == 2.0 + 4 * 0.5
    assert cold["accuracy"] == [0.5] * 5
    assert len(cold["parts"]) == 5


def test_a_variant_without_its_package_is_left_out_and_said(bench, fakes, monkeypatch):
    monkeypatch.setattr("tlkit.bench.cases.find_spec", lambda name: None)
    document, said = bench("pixels-96")
    assert fakes() == ["plain", "cold, tensorflow cold", "warm warm"]
    assert document["left_out"] == [
        {
            "case": "pixels-96",
            "variant": "cold, openvino",
            "reason": "the package openvino is not installed",
        }
    ]
    assert "cold, openvino left out" in said[0]


def test_a_second_bench_measures_only_what_is_missing(bench, fakes):
    first, _ = bench("classic")
    fakes()
    again, said = bench("classic")
    assert fakes() == []
    assert again["measurements"] == first["measurements"]
    assert said[0].startswith("Kept 3 measurements of an earlier bench; set aside 0")
    document, _ = bench("classic", rounds=2)
    assert fakes() == ["plain", "cold cold", "warm warm"]
    assert len(document["measurements"]) == 6


def stop_after(monkeypatch, count):
    """Let the bench be killed after so many measurements."""
    real = Results.add

    def add(self, *arguments):
        if len(self.measurements) == count:
            raise KeyboardInterrupt
        real(self, *arguments)

    monkeypatch.setattr(Results, "add", add)
    return lambda: monkeypatch.setattr(Results, "add", real)


def test_a_kill_between_cold_and_warm_keeps_the_cache(bench, fakes, monkeypatch, tmp_path):
    undo = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        bench("classic")
    undo()
    fakes()
    assert len(json.loads((tmp_path / "out" / "bench.json").read_text())["measurements"]) == 2
    document, said = bench("classic")
    assert said[0].startswith("Kept 2 ")
    assert fakes() == ["warm warm"]
    assert len(document["measurements"]) == 3


def test_warm_without_its_cache_measures_cold_again(bench, fakes, monkeypatch, tmp_path):
    undo = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        bench("classic")
    undo()
    fakes()
    shutil.rmtree(tmp_path / "out" / "bench-work")
    document, _ = bench("classic")
    assert fakes() == ["cold cold", "warm warm"]
    assert len(document["measurements"]) == 3
    assert [item["variant"] for item in document["superseded"]] == ["cold"]


def test_other_data_sets_measurements_aside_but_loses_none(bench, fakes, data):
    bench("classic")
    fakes()
    os.utime(data, (1, 1))
    document, said = bench("classic")
    assert fakes() == ["plain", "cold cold", "warm warm"]
    assert said[0].startswith("Kept 0 measurements of an earlier bench; set aside 3")
    assert len(document["superseded"]) == len(document["measurements"]) == 3


def test_a_changed_tlkit_keeps_what_plain_keras_took(bench, fakes, monkeypatch):
    bench("classic")
    fakes()
    real = measure.versions
    changed = {"source": "another"}
    monkeypatch.setattr(
        measure, "versions", lambda side: real(side) | (changed if side == "tlkit" else {})
    )
    bench("classic")
    assert fakes() == ["cold cold", "warm warm"]


def test_a_change_of_tlkit_during_the_bench_ends_it(bench, fakes, monkeypatch):
    answers = iter(range(100))
    monkeypatch.setattr(measure, "versions", lambda side: {"source": str(next(answers))})
    with pytest.raises(TlkitError, match="changed during the bench"):
        bench("classic")
    assert fakes() == ["plain"]


def test_the_versions_of_the_two_sides():
    plain, tlkit = measure.versions("plain"), measure.versions("tlkit")
    assert "tlkit" not in plain
    assert plain["numpy"] == tlkit["numpy"]
    assert len(tlkit["source"]) == 64 != plain["source"]


def test_measurements_of_other_cases_stay(bench, fakes):
    bench("five-heads")
    document, _ = bench("classic")
    assert {item["case"] for item in document["measurements"]} == {"classic", "five-heads"}
    assert {item["case"] for item in document["summary"]["variants"]} == {"classic"}
    document, said = bench("classic", "five-heads")
    assert said[0].startswith("Kept 5 ")
    assert {item["case"] for item in document["summary"]["variants"]} == {"classic", "five-heads"}


def test_a_failing_command_keeps_what_was_measured(bench, fakes, monkeypatch, tmp_path):
    monkeypatch.setattr(
        measure, "tlkit_commands", lambda *_: [python("raise SystemExit('no such engine')")]
    )
    with pytest.raises(TlkitError, match="no such engine"):
        bench("classic")
    found = json.loads((tmp_path / "out" / "bench.json").read_text())["measurements"]
    assert [item["variant"] for item in found] == ["plain"]


def test_start_up_needs_no_data(bench, fakes, tmp_path):
    document, _ = bench("start-up", data=tmp_path / "none.npz")
    summary = document["summary"]
    assert [(row["command"], row["rounds"]) for row in summary["start_up"]] == [
        ("tlkit --help", 5),
        ("tlkit plugins", 5),
    ]
    assert summary["tensorflow_imported"] is False
    assert bench("start-up", data=tmp_path / "none.npz")[1][0].startswith("Kept 11 ")


def test_the_imports_are_read_by_their_whole_name():
    line = "import time:       100 |       1000 |   {}"
    assert imports_module(line.format("tensorflow"), "tensorflow")
    assert imports_module(line.format("tensorflow.python"), "tensorflow")
    assert not imports_module(line.format("tensorflow_hub"), "tensorflow")
    assert not imports_module("tensorflow", "tensorflow")


def test_images_gives_both_sides_a_subset(bench, fakes, monkeypatch, tmp_path):
    given = []
    plain, tlkit = measure.plain_command, measure.tlkit_commands

    def spy(real):
        return lambda job, data, output: given.append(data) or real(job, data, output)

    monkeypatch.setattr(measure, "plain_command", spy(plain))
    monkeypatch.setattr(measure, "tlkit_commands", spy(tlkit))
    document, _ = bench("classic", images=11)
    assert set(given) == {tmp_path / "out" / "bench-images-11.npz"}
    with np.load(given[0]) as stored:
        assert {key: len(stored[key]) for key in stored} == {
            "x_train": 11,
            "y_train": 11,
            "x_test": 2,
            "y_test": 2,
        }
    assert document["data"]["images"] == 11
    assert bench("classic", images=11)[1][0].startswith("Kept 3 ")
    assert bench("classic", images=12)[1][0].startswith("Kept 0 ")


def test_an_empty_choice_means_all_cases(bench, fakes):
    document, _ = bench()
    assert document["cases"] == list(NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cases": ["clasic"]}, "Unknown case 'clasic'. Did you mean 'classic'"),
        ({"rounds": 0}, "rounds = 0"),
        ({"images": 4}, "images = 4"),
        ({"data": "none.npz"}, "There is no data file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    data, tmp_path, monkeypatch, changes, message
):
    arguments = {"cases": ["classic"], "data": data, "rounds": 1, "images": None} | changes
    arguments["data"] = tmp_path / arguments["data"]
    with pytest.raises(ConfigError, match=message):
        run_bench(**arguments, output=tmp_path / "out", say=print)
    assert not (tmp_path / "out").exists()


def test_bad_files_are_refused(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Cannot make the folder"):
        run_bench(["classic"], data, 1, tmp_path / "file", None, print)
    with pytest.raises(ConfigError, match="Cannot read"):
        run_bench(["classic"], tmp_path / "file", 1, tmp_path / "out", 10, print)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_a_damaged_result_is_not_overwritten(data, tmp_path, text):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "bench.json"
    path.write_text(text)
    with pytest.raises(TlkitError, match="Move the file away"):
        run_bench(["classic"], data, 1, tmp_path / "out", None, print)
    assert path.read_text() == text
