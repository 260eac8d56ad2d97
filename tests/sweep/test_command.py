import subprocess
import sys

import pytest

from tlkit.sweep import run_sweep

SPACE = '["head.units"]\nchoice = [8, 16]\n'
FAST = ("--set", "backbone.image_size=32", "--set", "workflow.epochs=1", "--set", "reporters=[]")


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


def test_commands_that_do_not_search_import_no_optuna_and_no_ray():
    code = (
        "import sys, tlkit.cli\n"
        "try: tlkit.cli.main(['sweep', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(len({'optuna', 'ray', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_without_the_extra_one_error_says_how_to_install_it(tlkit_command, space, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = tlkit_command("sweep", "quickstart", "--space", space)
    assert code == 2
    assert "pip install 'tlkit[sweep]'" in err
    assert "Traceback" not in err


def test_ctrl_c_says_what_is_kept_and_the_command_that_goes_on(tlkit_command, space, monkeypatch):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("tlkit.sweep.command.run_sweep", interrupt)
    code, _, err = tlkit_command("sweep", "quickstart", "--space", space, "--trials", 7)
    assert code == 130
    assert "Interrupted after 0 trials." in err
    assert err.strip().endswith(f"sweep quickstart --space {space} --trials 7")


def test_a_sweep_shows_its_best_trials_the_gain_and_where_they_are(tlkit_command, space, tmp_path):
    code, out, err = tlkit_command("sweep", "quickstart", "--space", space, "--trials", 2, *FAST)
    assert code == 0, err
    assert "[2/2] trial 1" in err
    assert "2 trials; " in out.replace(", 0", ";") or "2 trials" in out
    assert "Test accuracy, default:" in out
    assert "Test accuracy, best:" in out or "No trial was better" in out
    assert f"Best config: {tmp_path / 'sweep' / 'best.toml'}" in out or "sweep/best.toml" in out
    assert (tmp_path / "sweep" / "report.html").is_file()
    code, out, err = tlkit_command("report", "sweep", "--json")
    assert code == 0, err
    assert '"kind": "sweep"' in out
    assert run_sweep.__module__ == "tlkit.sweep"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--space", "none.toml"), "Cannot read the space none.toml"),
        (("--metric", "accuracy"), "Unknown metric 'accuracy'"),
        (("--sampler", "best"), "Unknown sampler 'best'"),
        (("--trials", "0"), "0 trials are not allowed"),
        (("--storage", "postgresql://a:secret@b/c"), "TLKIT_SWEEP_STORAGE"),
        (("--set", "run.validation=test"), "chosen by the test images"),
    ],
)
def test_bad_input_gets_one_error(tlkit_command, space, arguments, said):
    code, out, err = tlkit_command("sweep", "quickstart", "--space", space, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "secret" not in err
    assert "Traceback" not in err
