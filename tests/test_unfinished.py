import pytest

from tlkit import RunFolderError
from tlkit.unfinished import check_unfinished, find_unfinished, name_unfinished, unfinished_runs


def test_what_is_no_unfinished_run_is_told_with_what_is_allowed(tmp_path):
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.toml").touch()
    (folder / "run.json").touch()

    def told(path):
        with pytest.raises(RunFolderError) as error:
            find_unfinished(path)
        return str(error.value).splitlines()

    allowed = "Allowed: the folder of a run that did not finish, such as runs/TIME-NAME."
    assert told(tmp_path / "nothing") == [
        f"Cannot resume {tmp_path / 'nothing'}: it does not exist. {allowed}"
    ]
    (tmp_path / "file").touch()
    assert told(tmp_path / "file") == [
        f"Cannot resume {tmp_path / 'file'}: it is a file. {allowed}"
    ]
    assert "it is no run folder" in told(folder.parent)[0]
    (folder / "run.json").unlink()
    config = folder / "config.toml"
    first, go_on = told(config)
    assert first == f"Cannot resume {config}: it is a file. {allowed}"
    assert go_on.endswith(f" resume {folder}")
    first, *lines = told(folder.parent)
    assert first.endswith("it is a folder of runs. 1 run there did not finish:")
    assert lines == [go_on]
    assert find_unfinished(folder) == config


def test_of_many_unfinished_runs_the_last_ones_are_named(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "config.toml").touch()
    found = unfinished_runs(tmp_path)
    first, *lines = name_unfinished(found).splitlines()
    assert first == "12 runs there did not finish (the last 10):"
    assert [line[-2:] for line in lines] == [f"{number:02}" for number in range(2, 12)]


def test_a_config_that_is_no_text_cannot_be_resumed(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\x80")
    with pytest.raises(RunFolderError, match="Cannot read"):
        check_unfinished(tmp_path, {})
