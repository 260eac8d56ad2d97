import dataclasses
import io
import itertools
import re
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress

from tests.builtin.reporters.conftest import LINEAGE
from tlkit import ConfigError, Phase, PhaseResult
from tlkit.builtin.reporters.terminal import RichReporter
from tlkit.options import validate_options

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
PHASE = Phase("frozen", 3, 10, 100, 5, 5)


class Screen:
    """A console on a file of one encoding, and what was written to it."""

    def __init__(self, width=80, terminal=False, encoding="utf-8"):
        self._bytes, self._encoding = io.BytesIO(), encoding
        self.file = io.TextIOWrapper(self._bytes, encoding=encoding, newline="")
        self.console = Console(
            file=self.file,
            width=width,
            force_terminal=terminal,
            color_system="truecolor" if terminal else "auto",
        )
        self.reporter = RichReporter(console=self.console)

    @property
    def text(self):
        self.file.flush()
        return self._bytes.getvalue().decode(self._encoding)


def run(reporter, result):
    reporter.on_run_begin(result.info)
    reporter.on_extract_progress("train", 0, 45000, 0.0, stored=False)
    reporter.on_extract_progress("train", 9000, 45000, 3.0, stored=False)
    reporter.on_extract_progress("train", 45000, 45000, 15.0, stored=False)
    reporter.on_extract_progress("test", 0, 500, 0.0, stored=False)
    reporter.on_extract_progress("test", 500, 500, 0.1, stored=True)
    for phase in result.phases:
        reporter.on_phase_begin(phase.phase)
        for epoch in range(len(phase.history["loss"])):
            reporter.on_epoch_progress(phase.phase, epoch + 1, 9000, 45000, 1.0)
            metrics = {key: values[epoch] for key, values in phase.history.items()}
            reporter.on_epoch_end(phase.phase, epoch + 1, metrics, 3.2)
        reporter.on_phase_end(phase)
    reporter.on_run_end(result)


def shown(result, **screen):
    screen = Screen(**screen)
    run(screen.reporter, result)
    return screen.text


def assert_fits(text, width):
    for line in text.splitlines():
        assert cell_len(line) <= width, line


def row_of(text, start):
    return next(line for line in text.splitlines() if line.lstrip().startswith(start))


def test_the_header_says_what_runs(fake_result, tmp_path):
    text = shown(fake_result(folder=tmp_path, notes=("Validated on the test set.",)), width=120)
    assert "Run cifar10" in text
    assert "cifar10; 10 classes; images: 45,000 train, 5,000 validation, 500 test" in text
    assert "mobilenet_v2: image_size 96, alpha 1, weights imagenet" in text
    assert "dense: units 128, dropout 0.3" in text
    assert str(tmp_path) in text.replace("\n          ", "")
    assert text.count("Validated on the test set.") == 1


def test_the_header_says_which_engine_and_views_were_asked_for(fake_result):
    result = fake_result()
    assert "as asked for" not in shown(result)
    result.info.config.update(
        engine={"name": "openvino", "precision": "bfloat16"},
        features={"dtype": "float16", "views": 4, "flip": True, "crop": 0.3, "colour": 0.1},
    )
    text = shown(result, width=120)
    assert "openvino: precision bfloat16, as asked for" in text
    assert "4 of each training image: flip True, crop 0.3, colour 0.1" in text
    assert "stored as float16" in text


def test_the_header_says_what_is_shared_with_other_machines(fake_result):
    result = fake_result()
    assert "Distributed" not in shown(result)
    result.info.config.update(
        run={"distribute": "multi_worker"}, features={"store": "s3://bucket/features"}
    )
    text = shown(result, width=120)
    assert "Distributed batches of fine-tuning, multi_worker\n" in text
    assert "Shared in   s3://bucket/features\n" in text


def test_options_that_change_nothing_are_left_out(fake_result):
    result = fake_result(idle_options={"workflow": ("learning_rate",)})
    assert "Workflow    freeze_and_train: epochs 5\n" in shown(result)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_solved_head_is_one_line_with_what_was_chosen(terminal):
    screen = Screen(width=200, terminal=terminal)
    begun = Phase("frozen", 1, 0, 1800, 0, 2257984)
    phase = dataclasses.replace(begun, trainable_parameters=12810)
    screen.reporter.on_phase_begin(begun)
    assert "Phase frozen: solving the head for 1,800 images" in ESCAPE.sub("", screen.text)
    metrics = {"loss": 0.1, "accuracy": 0.9, "val_loss": 0.2, "val_accuracy": 0.8}
    screen.reporter.on_epoch_end(phase, 1, metrics, 0.3)
    history = {key: [value] for key, value in metrics.items()}
    screen.reporter.on_phase_end(PhaseResult(phase, history, 0.3, chosen={"C": 0.01}))
    assert ESCAPE.sub("", screen.text).splitlines()[-1].split("\r")[-1] == (
        "Phase frozen: solved in 0.3 s for 1,800 images; C = 0.01, chosen by the validation "
        "images; loss 0.1000; accuracy 90.0 %; val loss 0.2000; val acc 80.0 %; 12,810 parameters, "
        "2,257,984 frozen"
    )
    assert "Epoch" not in screen.text


def test_the_epoch_that_was_kept_is_said():
    screen = Screen()
    history = {"loss": [0.3, 0.2, 0.1], "val_loss": [0.3, 0.2, 0.25]}
    screen.reporter.on_phase_end(PhaseResult(PHASE, history, 1.0, 2))
    assert "Kept the weights of the best epoch, 2." in screen.text
    assert "Stopped early" not in screen.text
    history = {"loss": [0.3, 0.2], "val_loss": [0.2, 0.3]}
    screen.reporter.on_phase_end(PhaseResult(PHASE, history, 1.0, 1))
    assert "Stopped early after 2 epochs. Kept the weights of the best epoch, 1." in screen.text
    screen.reporter.on_phase_end(PhaseResult(PHASE, history, 1.0))
    line = "Kept the last epoch's weights; lowest validation loss 0.2000 in epoch 1.\n"
    assert line in screen.text


@pytest.mark.parametrize(
    ("epochs", "kept", "steps", "chosen", "line"),
    [
        (5, None, 9, {}, "frozen: 16.0 s for 5 epochs; kept the weights of the last"),
        (8, 3, 9, {}, "frozen: 16.0 s for 5 of 8 epochs; kept the weights of the best, 3"),
        (1, None, 0, {"C": 0.01}, "frozen: 16.0 s, solved with C = 0.01"),
    ],
)
def test_the_result_says_what_each_phase_kept(fake_result, epochs, kept, steps, chosen, line):
    result = fake_result(epochs=(5,))
    (phase,) = result.phases
    settings = dataclasses.replace(phase.phase, epochs=epochs, steps=steps)
    phase = dataclasses.replace(phase, phase=settings, kept_epoch=kept, chosen=chosen)
    text = shown(dataclasses.replace(result, phases=(phase,), seconds={"total": 1.0}))
    assert f"Training    {line}\n" in text


def test_no_line_begins_with_the_unit_of_the_number_above(fake_result):
    for width in range(60, 121):
        text = shown(fake_result(), width=width)
        assert not re.search(r"^ +(%|s)\b", text, flags=re.MULTILINE), width
        assert "\ue000" not in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("terminal", [False, True])
def test_unbalanced_classes_are_shown_before_training(fake_result, width, terminal):
    counts = (*[5000] * 7, 2000, 9, 0)
    text = shown(fake_result(class_counts=counts), width=width, terminal=terminal)
    text = ESCAPE.sub("", text).split("Phase frozen")[0].replace("\r", "\n")
    assert_fits(text, width)
    flat = " ".join(text.split())
    assert "Balance 0 (truck) to 5,000 (airplane) training images in a class" in flat
    assert 'Unbalanced classes. [workflow] class_weight = "balanced" gives every class' in flat
    assert "Fewer than 10 training images: truck (0), ship (9)." in flat


def test_the_ratio_of_the_classes_is_shown_and_mild_ones_give_no_warning(fake_result):
    text = shown(fake_result(class_counts=(*[150] * 9, 100)), width=120)
    assert "100 (truck) to 150 (airplane) training images in a class, 1.5 times as many" in text
    assert "Unbalanced" not in text
    text = shown(fake_result(class_counts=(*[200] * 9, 100)), width=120)
    assert "2.0 times as many" in text
    assert "Unbalanced" in text


def test_weighed_classes_are_no_warning(fake_result):
    result = fake_result(class_counts=(*[5000] * 9, 100))
    config = {**result.info.config, "workflow": {"name": "x", "class_weight": "balanced"}}
    info = dataclasses.replace(result.info, config=config)
    text = " ".join(shown(dataclasses.replace(result, info=info)).split())
    assert "Note Unbalanced classes, weighed by class_weight." in text
    assert "gives every class" not in text


def test_even_classes_have_one_line(fake_result):
    text = shown(fake_result(class_counts=(4500,) * 10))
    assert "Balance     4,500 training images in each class\n" in text
    assert "Fewer than" not in text
    assert "Balance  " not in shown(fake_result())
    text = " ".join(shown(fake_result(class_counts=(9,) * 10)).split())
    assert "9 training images in each class" in text
    assert "Fewer than 10 training images: airplane (9), automobile (9)," in text
    assert "and 5 more." in text


def test_many_small_classes_are_counted(fake_result, nasty_names):
    names = (*nasty_names, *(f"class {index}" for index in range(30)))
    counts = (*[3] * len(nasty_names), *[5] * 29, 100)
    text = shown(fake_result(names, class_counts=counts))
    assert " and 34 more." in " ".join(text.split())
    assert not CONTROL.search(text)
    assert_fits(text.split("Phase frozen")[0], 80)


def test_the_epoch_table_is_aligned(fake_result):
    text = shown(fake_result())
    head, row = row_of(text, "Epoch"), row_of(text, "1/5")
    assert row.split() == ["1/5", "1.8000", "35.0", "%", "1.8000", "40.0", "%", "3.2"]
    for title, value in (("Loss", "1.8000"), ("Accuracy", "35.0 %"), ("Seconds", "3.2")):
        assert head.index(title) + len(title) == row.index(value) + len(value)
    assert "Parameters: 165,258 trainable, 2,257,984 frozen\n" in text
    assert "Phase frozen: 5 epochs of 45,000 images\n" in text


def test_the_result(fake_result):
    result = fake_result()
    text = shown(result)
    assert f"Test accuracy {100 * result.accuracy:.1f} %" in text
    low, high = (100 * end for end in result.test.accuracy_interval)
    assert f"(95 % interval {low:.1f} to {high:.1f})" in text
    assert f"Loss {result.test.loss:.4f}   500 images" in text
    assert f"Balanced accuracy   {100 * result.test.balanced_accuracy:.1f} %\n" in text
    assert f"Macro F1            {100 * result.test.macro_f1:.1f} %\n" in text
    assert f"Top-5 accuracy      {100 * result.test.top_5:.1f} %\n" in text
    assert "(no temperature: validation is the test set)" in text
    chance = result.test.calibration.uncalibrated.error_by_chance
    assert f"- by chance alone   {100 * chance:.1f} %, if every confidence were true\n" in text
    assert re.search(r"airplane +\d+\.\d % +\d+\.\d % +\d+\.\d % +50", text)
    for part in ("macro avg", "weighted avg", "features 33.1", "stored before: train"):
        assert part in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_calibration_error_is_shown_before_and_after(fake_result, width):
    plain = fake_result(temperature=0.75)
    calibration = plain.test.calibration
    before = f"{100 * calibration.uncalibrated.expected_calibration_error:.1f} %"
    after = f"{100 * calibration.calibrated.expected_calibration_error:.1f} %"
    assert before != after
    text = shown(plain, width=width)
    assert f"Calibration error   {before} ({after} with temperature 0.75)\n" in text
    text = shown(fake_result(temperature=0.75, applied=True), width=width)
    assert f"Calibration error   {after} with temperature 0.75 ({before} without)\n" in text


def test_five_classes_have_no_top_5(fake_result):
    assert "Top-5" not in shown(fake_result(tuple("abcde")))


def test_a_run_of_before_has_its_figures_alone(old_result):
    text = shown(old_result)
    assert f"Test accuracy {100 * old_result.accuracy:.1f} % " in text
    for absent in ("interval", "Balanced accuracy", "Top-5", "Calibration", "chance"):
        assert absent not in text


def test_every_count_of_the_confusion_matrix_is_shown(fake_result):
    result = fake_result()
    lines = shown(result).split("Confusion matrix")[1].splitlines()[2:12]
    rows = zip(lines, result.info.class_names, result.test.confusion_matrix, strict=True)
    for line, name, counts in rows:
        assert line.split() == [name, *(str(count) if count else "." for count in counts)]


def test_twenty_classes_are_shown_in_per_cent_under_letters(fake_result):
    names = tuple(f"class number {index}" for index in range(20))
    text = shown(fake_result(names, count=4000))
    assert "per cent of the row" in text
    assert re.search(r"A +B +C +D", text)
    assert "T class number" in text
    assert_fits(text, 80)


def test_short_names_need_no_letters_in_a_narrow_console(fake_result):
    text = shown(fake_result(tuple("0123456789")), width=60)
    matrix = text.split("Confusion matrix")[1]
    assert re.search(r"0 +1 +2 +3", matrix)
    assert "A" not in matrix.split("Seconds")[0]


def test_many_classes_have_a_table_of_confusions(fake_result):
    names = tuple(f"class {index}" for index in range(100))
    text = shown(fake_result(names, count=3000))
    table = text.split("Most frequent confusions")[1].split("Seconds")[0]
    assert len(re.findall(r"class \d+ → class \d+ +\d+ +\d+\.\d %", table)) == 15
    assert_fits(text, 80)


def test_many_classes_without_a_mistake(fake_result):
    names = tuple(f"class {index}" for index in range(30))
    assert "No image of the test set was confused." in shown(fake_result(names, skill=1.0))


def test_over_a_hundred_classes_the_weakest_are_reported(fake_result):
    names = tuple(f"class {index}" for index in range(150))
    text = shown(fake_result(names, count=3000))
    assert "the 15 of 150 classes with the lowest F1" in text
    assert len(text.splitlines()) < 90


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_nasty_names_fit_and_move_no_cursor(
    fake_result, nasty_names, tmp_path, width, terminal, encoding
):
    result = fake_result(
        nasty_names,
        folder=tmp_path / "[red]\x1b[2J",
        name="[/nope] \x1b]0;title\x07" + "n" * 200,
        notes=("[blink]\x1b[5m", "x" * 300),
    )
    screen = Screen(width=width, terminal=terminal, encoding=encoding)
    run(screen.reporter, result)
    text = screen.text
    for part in ("[bold]red", "\\x1b[31mESC", "\\u202eevil", "[blink]\\x1b[5m"):
        assert part in text
    assert "\x1b[2J" not in text
    assert "\x1b]0" not in text
    if terminal:
        assert text.count(HIDE) == text.count(SHOW) > 0
        text = ESCAPE.sub("", text).replace("\r", "\n")
    assert not CONTROL.search(text)
    assert_fits(text, width)


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_other_widths_do_not_raise(fake_result, nasty_names, width):
    for names in (nasty_names, tuple(f"class {index}" for index in range(30))):
        for terminal in (False, True):
            shown(fake_result(names), width=width, terminal=terminal)


def test_piped_it_is_plain_lines(fake_result, tmp_path):
    text = shown(fake_result(folder=tmp_path))
    assert "\x1b" not in text
    assert "\r" not in text
    features = [line for line in text.splitlines() if line.startswith("Features of")]
    assert features == [
        "Features of train: 45,000 images in 15.0 s (3,000 images/s)",
        "Features of test: 500 images, stored before",
    ]
    assert not any(line.endswith(" ") for line in text.splitlines())
    for phase in ("frozen", "fine-tune"):
        table = text.split(f"Phase {phase}")[1].split("Kept")[0].splitlines()
        assert len(table) == 3 + (5 if phase == "frozen" else 3)


def test_piped_stored_features_are_one_line():
    screen = Screen()
    screen.reporter.on_extract_progress("train", 0, 100, 0.0, stored=False)
    screen.reporter.on_extract_progress("train", 100, 100, 0.1, stored=True)
    assert screen.text == "Features of train: 100 images, stored before\n"


def test_piped_a_long_extraction_has_a_line_a_minute():
    screen = Screen()
    for second in range(0, 151, 10):
        screen.reporter.on_extract_progress("train", second * 10, 2000, float(second))
    lines = [line.split(": ")[1] for line in screen.text.splitlines()]
    assert lines == [
        "600 of 2,000 images, 10 images/s, 2:20 left",
        "1,200 of 2,000 images, 10 images/s, 1:20 left",
    ]


def test_an_extraction_that_goes_on_says_so_and_counts_what_it_did():
    screen = Screen()
    for done, seconds in ((0, 0.0), (900, 0.0), (950, 1.0), (1000, 2.0)):
        screen.reporter.on_extract_progress("train", done, 1000, seconds, stored=False)
    last = screen.text.splitlines()[-1]
    assert last == "Features of train: 100 images in 2.0 s (50 images/s), 900 stored before"


@pytest.mark.parametrize("force", [False, True])
def test_force_color_in_a_pipe_gives_colours_and_no_display(monkeypatch, fake_result, force):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if force:
        monkeypatch.setenv("FORCE_COLOR", "1")
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    file = io.StringIO()
    run(RichReporter(console=Console(file=file, width=80)), fake_result())
    text = file.getvalue()
    assert ("\x1b[1m" in text) == force
    assert ("48;" in text) == force
    assert HIDE not in text
    assert "\r" not in text
    assert len(re.findall(r"(?m)^ +\d+/5 ", text)) == 5


def test_no_color_leaves_no_colour_on_a_terminal(monkeypatch, fake_result):
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="truecolor")
    run(RichReporter(console=console), fake_result())
    styles = {part for codes in re.findall(r"\x1b\[([\d;]+)m", file.getvalue()) for part in [codes]}
    assert styles
    assert not any(re.search(r"(^|;)[349]\d", style) for style in styles)


def test_live_the_bar_shows_rate_and_time_left(fake_result, monkeypatch):
    monkeypatch.setattr("tlkit.builtin.reporters.terminal_display.SECONDS_BETWEEN_DRAWS", 0)
    screen = Screen(terminal=True)
    for done, seconds in ((0, 0.0), (6000, 2.0), (9000, 3.0)):
        screen.reporter.on_extract_progress("train", done, 45000, seconds, stored=False)
    text = ESCAPE.sub("", screen.text)
    assert "9,000 of 45,000 images   3,000 images/s   0:12 left" in text
    text = ESCAPE.sub("", shown(fake_result(), terminal=True))
    # Five epochs of 5 seconds, one of which is over.
    assert "9,000 of 45,000 images   9,000 images/s   0:24 left" in text
    assert "Epoch 2/5" in text


def test_ascii_where_the_console_can_do_no_more(fake_result):
    text = shown(fake_result(), encoding="ascii")
    assert "Test accuracy" in text
    assert text.isascii()


def test_a_history_without_validation_and_a_loss_that_is_no_number(fake_result):
    text = shown(fake_result(validation=False, loss=float("nan")))
    assert row_of(text, "1/5").split() == ["1/5", "nan", "35.0", "%", "-", "-", "3.2"]


@pytest.mark.parametrize("options", [{"epochs": ()}, {"missing_class": True}, {"config": {}}])
def test_unusual_results(fake_result, options):
    text = shown(fake_result(**options))
    assert "Test accuracy" in text
    assert_fits(text, 80)


def test_the_files_of_the_folder_are_listed(fake_result, tmp_path):
    (tmp_path / "plots").mkdir()
    for name in ("model.keras", "plots/curves.png", ".hidden"):
        (tmp_path / name).touch()
    text = shown(fake_result(folder=tmp_path))
    assert "model.keras, plots/curves.png" in text
    assert ".hidden" not in text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("is nan")])
@pytest.mark.parametrize("terminal", [False, True])
def test_an_error_is_left_to_the_caller_and_gives_the_terminal_back(error, terminal):
    screen = Screen(terminal=terminal)
    stdout = sys.stdout
    screen.reporter.on_phase_begin(PHASE)
    screen.reporter.on_epoch_end(PHASE, 1, {"loss": 0.5, "val_loss": 0.25}, 1.0)
    screen.reporter.on_epoch_progress(PHASE, 2, 50, 100, 1.0)
    assert (HIDE in screen.text) == terminal
    screen.reporter.on_error(error)
    assert "is nan" not in screen.text
    assert "Interrupted" not in screen.text
    assert screen.text.count(HIDE) == screen.text.count(SHOW)
    assert sys.stdout is stdout
    # The epochs so far stay, once.
    last = ESCAPE.sub("", screen.text).splitlines()[-1].split("\r")[-1]
    assert last.split()[:2] == ["1/3", "0.5000"]


def test_if_the_reporter_itself_raises_the_terminal_is_given_back():
    screen = Screen(terminal=True)
    screen.reporter.on_epoch_progress(PHASE, 1, 50, 100, 1.0)
    with pytest.raises(TypeError):
        screen.reporter.on_epoch_progress(PHASE, 1, object(), 100, 1.0)
    assert screen.text.count(HIDE) == screen.text.count(SHOW) == 1


def events(result):
    phase = result.phases[0].phase
    return [
        lambda r: r.on_stage("start", later=1),
        lambda r: r.on_run_begin(result.info),
        lambda r: r.on_extract_progress("train", 5, 10, 0.0, stored=False, later=1),
        lambda r: r.on_phase_begin(phase, later=1),
        lambda r: r.on_epoch_progress(phase, 1, 0, 0, 0.0, later=1),
        lambda r: r.on_epoch_end(phase, 1, {}, 0.0, later=1),
        lambda r: r.on_phase_end(result.phases[0], later=1),
        lambda r: r.on_run_end(result, later=1),
        lambda r: r.on_error(KeyboardInterrupt(), later=1),
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_events_in_any_order(fake_result, terminal):
    screen = Screen(terminal=terminal)
    for pair in itertools.permutations(events(fake_result()), 2):
        for event in pair:
            event(screen.reporter)
    screen.reporter.on_error(RuntimeError())
    assert screen.text.count(HIDE) == screen.text.count(SHOW)


def test_a_display_of_the_caller_stays(fake_result):
    screen = Screen(terminal=True)
    with Progress(console=screen.console, auto_refresh=False):
        run(screen.reporter, fake_result())
    assert "Test accuracy" in screen.text


def test_a_reader_that_leaves_does_not_end_the_run(fake_result, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return 10_000

    monkeypatch.setattr("os.dup2", lambda *args: None)
    monkeypatch.setattr(sys, "stdout", Gone())
    run(RichReporter(), fake_result())


def test_options_are_those_that_can_be_written_down():
    assert RichReporter(width=100).options == {"width": 100}
    assert RichReporter(console=Console()).options == {"width": None}
    assert validate_options(RichReporter, {"width": 100}, where="a file") == {"width": 100}
    with pytest.raises(ConfigError):
        validate_options(RichReporter, {"console": "x"}, where="a file")
    with pytest.raises(ConfigError, match="40 or more"):
        RichReporter(width=39)


def test_what_a_run_started_from_is_shown_at_both_ends(fake_result):
    text = " ".join(shown(fake_result(lineage=LINEAGE)).split())
    assert "Starts from 20261124-120816-animals, test accuracy 87.5 %; before it" in text
    assert "Old classes 87.5 % right before the first step" in text
