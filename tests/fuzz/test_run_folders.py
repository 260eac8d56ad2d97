"""Run folders from outside: a result that everything can show, or one TlkitError."""

from __future__ import annotations

import io
import json
import tomllib
import zipfile

import numpy as np
import pytest
import tomli_w
from hypothesis import strategies as st

from tests.builtin.reporters.conftest import LINEAGE, make_result
from tests.fuzz.harness import write_files
from tests.fuzz.mutations import (
    CHANGES_OF_BYTES,
    CHANGES_OF_VALUES,
    change_bytes,
    change_values,
)
from tests.report.conftest import make_pictures, save_run
from tlkit import Registry, TlkitError, run_folder, thumbnails, unfinished
from tlkit.callback_state import CallbackState
from tlkit.card import card_text
from tlkit.checked_json import read_checked_json, write_checked_json
from tlkit.checkpoint import Checkpoints
from tlkit.compare.reading import differing_settings, figures_of, finished_runs, right_answers
from tlkit.documents.run import Run
from tlkit.report.index import write_index
from tlkit.report.page import render_report, write_report
from tlkit.training_state import Epoch, TrainingState

NAMES = ("cat", "dog", "emu")
# Long lists hide everything else from the changes.
FEW = {"class_names": NAMES, "count": 12, "epochs": (2, 1), "temperature": 1.5, "applied": True}
MORE = {
    "began": "2026-11-24T12:51:24+01:00",
    "class_counts": (5, 4, 3),
    "notes": ("a note",),
    "duplicates": {"test": 1},
    "idle_options": {"head": ("dropout",)},
    "lineage": LINEAGE,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    """The files of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "20261124-125124-run"
    save_run(folder, images=make_pictures(12), **FEW, **MORE)
    record = json.loads((folder / run_folder.RUN).read_text())
    record["environment"] = {"python": "3.12.1", "tlkit": "0.1.0", "platform": "Linux"}
    record["fingerprints"] = {"train": "0" * 64, "test": "1" * 64}
    extraction = {"split": "test", "engine": "openvino", "num_images": 12, "batch_size": 4}
    record["extractions"] = [{**extraction, "seconds": 1.5, "stage_seconds": {"read": 0.5}}]
    record["engine_trials"] = [
        {"engine": "openvino", "version": "1", "precision": "f32", "accepted": True}
    ]
    record["warnings"] = ["a warning"]
    record["info"]["config"]["test_time_augmentation"] = {"mirror": True, "scales": [1.25]}
    record["info"]["config"]["run"] = {"name": "run", "seed": 0, "validation": 0.1, "save": ["h5"]}
    record["info"]["config"]["run"]["start_from"] = LINEAGE.parent.folder
    record["info"]["config"]["features"] = {"dtype": "float32", "views": 2, "flip": True}
    record["info"]["config"]["reporters"] = [{"name": "files"}]
    (folder / run_folder.RUN).write_text(json.dumps(record))
    (folder / "cell.json").write_text(json.dumps({"features": [{"seconds": 1.0}]}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def as_json(value: object) -> bytes:
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # too long a number, or too deep a tree
        return b"[]"


ARRAYS = st.sampled_from(
    (
        *(np.zeros(12, np.int64), np.zeros((12, 3), np.float32), np.zeros((0, 3)), np.zeros(())),
        *(np.full(12, -1), np.full(12, 2**40), np.zeros((12, 2)), np.full((12, 3), np.nan)),
        *(np.array(["a"] * 12), np.array([None] * 12), np.zeros(12), np.zeros((3, 12, 1))),
        *(np.full((12, 3), np.inf, np.float16), np.zeros((12, 3), complex), np.zeros((12, 0))),
    )
)


def change_arrays(content: bytes, changed: dict[str, np.ndarray]) -> bytes:
    with np.load(io.BytesIO(content)) as stored:
        arrays = {**stored, **changed}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def change_members(content: bytes, changes, byte_changes) -> bytes:
    """Change the manifest of the thumbnails, and the pictures."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == thumbnails.MANIFEST:
                data = as_json(change_values(json.loads(data), changes))
            elif byte_changes:
                data = change_bytes(data, byte_changes)
            new.writestr(name, data)
    return buffer.getvalue()


@st.composite
def folders(draw, good):
    """The files of a finished run, some of them changed or gone."""
    files = dict(good)
    what = draw(
        st.sampled_from(("values", "values", "values", "bytes", "arrays", "pictures", "gone"))
    )
    if what == "values":
        record = json.loads(files[run_folder.RUN])
        files[run_folder.RUN] = as_json(change_values(record, draw(CHANGES_OF_VALUES)))
    elif what == "bytes":
        name = draw(st.sampled_from(sorted(files)))
        files[name] = change_bytes(files[name], draw(CHANGES_OF_BYTES))
    elif what == "arrays":
        names = st.sampled_from(("labels", "probabilities", "other"))
        changed = draw(st.dictionaries(names, ARRAYS, min_size=1, max_size=2))
        files[run_folder.PREDICTIONS] = change_arrays(files[run_folder.PREDICTIONS], changed)
    elif what == "pictures":
        files[thumbnails.FILE] = change_members(
            files[thumbnails.FILE], draw(CHANGES_OF_VALUES), draw(CHANGES_OF_BYTES)
        )
    else:
        del files[draw(st.sampled_from(sorted(files)))]
    return files


def test_a_run_folder_is_a_result_or_an_error(fuzz, tmp_path, good):
    folder = tmp_path / "runs" / "20261124-125124-run"
    folder.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    write_files(tmp_path / "other", good)
    others = run_folder.load_run(tmp_path / "other")

    def read(files):
        write_files(folder, files)
        list(finished_runs(folder.parent))
        with pytest.raises(TlkitError):
            unfinished.find_unfinished(folder if run_folder.RUN in files else tmp_path)
        result = run_folder.load_run(folder)
        repr(result)
        Run.of(result).model_dump_json()
        figures_of(result)
        differing_settings([result.info.config, others.info.config])
        right_answers({"one": result, "other": others})

    fuzz("run folder", folders(good), read)


def test_a_run_folder_has_a_report_and_cards_or_an_error(fuzz, tmp_path, good):
    folder, registry = tmp_path / "runs" / "20261124-125124-run", Registry()
    folder.mkdir(parents=True)

    def read(files):
        write_files(folder, files)
        result = run_folder.load_run(folder)
        for kind in ("lab-report", "model-card"):
            assert card_text(result, kind, folder, registry)
        assert write_report(result).stat().st_size < 3_000_000

    read(good)  # the first report makes the scripts that all of them hold
    fuzz("report and cards", folders(good), read)


def test_a_folder_of_runs_has_an_index_or_an_error(fuzz, tmp_path, good):
    runs = tmp_path / "runs"
    runs.mkdir()

    def read(value):
        first, second = value
        files = {f"20261124-125124-run/{name}": data for name, data in first.items()}
        files |= {f"\u202e[bold]/{name}": data for name, data in second.items()}
        write_files(runs, files)
        write_index(runs)

    read((good, good))
    fuzz("index", st.tuples(folders(good), st.just(good) | folders(good)), read)


def test_pictures_of_a_run_are_read_or_refused(fuzz, tmp_path, good):
    result = save_run(tmp_path / "run", **FEW, **MORE)

    def read(content):
        (tmp_path / thumbnails.FILE).write_bytes(content)
        found = thumbnails.load(tmp_path)
        render_report(result, found)

    whole = good[thumbnails.FILE]
    read(whole)
    inputs = st.one_of(
        st.builds(change_members, st.just(whole), CHANGES_OF_VALUES, CHANGES_OF_BYTES),
        st.builds(change_bytes, st.just(whole), CHANGES_OF_BYTES),
    )
    fuzz("pictures of a run", inputs, read)


def test_what_to_resume_is_found_or_refused(fuzz, tmp_path):
    text = tomli_w.dumps({"dataset": {"name": "digits"}, "run": {"name": "a", "seed": 1}})
    config = tomllib.loads(text)
    folder = tmp_path / "run"
    folder.mkdir()

    def read(content):
        (folder / run_folder.CONFIG).write_bytes(content)
        unfinished.unfinished_run(tmp_path, config)
        unfinished.check_unfinished(folder, config)
        assert content.decode() == text

    inputs = st.builds(change_bytes, st.just(text.encode()), CHANGES_OF_BYTES) | st.binary()
    fuzz("unfinished run", inputs, read)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("checkpoints")
    phase = make_result(**FEW).phases[0]
    state = TrainingState(
        {"name": "frozen", "epochs": 5},
        (Epoch({"loss": 1.0, "val_loss": 2.0}, 0.5),),
        (np.zeros((2, 3), np.float32), np.arange(4)),
        (
            CallbackState(
                "EarlyStopping",
                {"wait": 1, "best": 0.5, "best_weights": {"list": [{"array": 0}]}},
                (np.zeros(2),),
                (),
            ),
        ),
        finished=phase,
    )
    Checkpoints(folder).save(0, state)
    return (folder / "phase-1.npz").read_bytes()


def change_record(content: bytes, changes) -> bytes:
    with np.load(io.BytesIO(content)) as stored:
        record = json.loads(stored["record"].tobytes())
    changed = as_json(change_values(record, changes))
    return change_arrays(content, {"record": np.frombuffer(changed, np.uint8)})


def test_a_checkpoint_is_a_state_or_none(fuzz, tmp_path, checkpoint):
    def read(content):
        (tmp_path / "phase-1.npz").write_bytes(content)
        checkpoints = Checkpoints(tmp_path)
        state = checkpoints.load(0)
        assert (state is None) == bool(checkpoints.warnings)
        if state is not None:
            assert isinstance(state.phase, dict)
            assert all(isinstance(item, np.ndarray) for item in state.variables)
            assert all(isinstance(item.decoded(), dict) for item in state.callbacks)
            assert all(float(epoch.seconds) >= 0 for epoch in state.epochs)

    inputs = st.one_of(
        st.builds(change_record, st.just(checkpoint), CHANGES_OF_VALUES),
        st.builds(change_bytes, st.just(checkpoint), CHANGES_OF_BYTES),
    )
    fuzz("checkpoint", inputs, read)


def test_checked_json_is_what_was_written_or_none(fuzz, tmp_path):
    path = tmp_path / "some.json"
    value = {"began": "now", "fingerprints": {"train": "0"}, "versions": {"keras": "3"}}
    write_checked_json(path, value)
    whole = path.read_bytes()

    def read(content):
        path.write_bytes(content)
        assert read_checked_json(path) in (None, value)

    inputs = st.one_of(
        st.builds(change_bytes, st.just(whole), CHANGES_OF_BYTES),
        st.builds(
            lambda tree, changes: as_json(change_values(tree, changes)),
            st.just(json.loads(whole)),
            CHANGES_OF_VALUES,
        ),
        st.binary(max_size=30),
    )
    fuzz("checked JSON", inputs, read)
