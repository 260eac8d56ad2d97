"""What ``tlkit predict`` does with its arguments."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tlkit import run_folder
from tlkit.abstention import Abstention, fit_abstention
from tlkit.classifier import Classifier
from tlkit.documents.predict import AbstentionFigures, PredictedPicture, Predictions
from tlkit.errors import ObjectStoreError
from tlkit.extraction import MAX_WORKERS
from tlkit.familiarity import Familiarity
from tlkit.interruption import Interrupted
from tlkit.mirror import put_back
from tlkit.paths import url_of
from tlkit.predict.familiar import learn_familiarity, load_familiarity
from tlkit.predict.files import AnswerFile, answer_file, check_answer_path, unfinished_path
from tlkit.predict.progress import progress
from tlkit.predictor import PictureInput, Prediction, check_numbers, classify, scan_inputs
from tlkit.records import RunResult
from tlkit.runtime import number_of_cores, require_tensorflow_backend
from tlkit.screen import RUN_AGAIN, say
from tlkit.store_urls import local_place
from tlkit.text import printable
from tlkit.wording import clock, percent, plural, rate

# More would push everything else off the screen.
ERRORS_SHOWN = 20


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        run: The run folder.
        inputs: Files and folders.
        top: How many classes to give for each picture.
        engine: The name of an engine, or ``"auto"``.
        batch_size: Pictures in a batch; 0 for the fastest.
        target_accuracy: What the accuracy of given answers must reach; None to answer always.
        flag_unfamiliar: Whether to measure how far pictures are from the training images.
        out: The file to write the answers to; None to show them.
        quiet: Whether nothing is printed, since a document will be.
        command: What was called, as a shell takes it.
    """

    run: Path
    inputs: Sequence[Path]
    top: int
    engine: str
    batch_size: int
    target_accuracy: float | None
    flag_unfamiliar: bool
    out: Path | None
    quiet: bool
    command: str


@dataclass
class _Tally:
    """What came so far; of the errors, only as many as are shown."""

    pictures: int = 0
    others: int = 0
    unreadable: int = 0
    abstained: int = 0
    unfamiliar: int = 0
    errors: list[str] = field(default_factory=list)

    def count(self, item: Prediction) -> None:
        self.pictures += 1
        self.abstained += bool(item.abstained)
        self.unfamiliar += bool(item.unfamiliar)
        if item.error is not None:
            self.unreadable += 1
            if len(self.errors) < ERRORS_SHOWN:
                self.errors.append(item.error)


def predict(wanted: Wanted) -> Predictions:
    """Classify pictures; show the answers, or write them to a file, as they come.

    Returns:
        The document: with all answers only where neither was done.

    Raises:
        TlkitError: As ``tlkit.predictor.predict()``; and if the answers cannot be written.
        Interrupted: In place of a ``KeyboardInterrupt``.
    """
    tally = _Tally()
    found: list[PictureInput] = []
    if wanted.out is not None:
        wanted = replace(wanted, out=local_place(wanted.out))
    try:
        check_numbers(wanted.top, wanted.batch_size)
        out = wanted.out
        if out is not None:
            if url_of(out) is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
            check_answer_path(out)
        # Before a large folder is read, and before TensorFlow is started.
        run = run_folder.load_run(wanted.run)
        abstention = None
        if wanted.target_accuracy is not None:
            validation = run_folder.load_validation(run)
            abstention = fit_abstention(validation, run.test, wanted.target_accuracy)
        pictures, tally.others = scan_inputs(wanted.inputs)
        found += pictures
        require_tensorflow_backend(one_thread_per_operation=number_of_cores() <= MAX_WORKERS)
        familiarity = _familiarity(run, wanted.quiet) if wanted.flag_unfamiliar else None
        classifier = Classifier.open(
            wanted.run,
            wanted.engine,
            features=False if familiarity is None else familiarity.layers,
            images=len(found),
        )
        with _terminated_as_interrupted():
            return _classified(wanted, classifier, found, out, tally, abstention, familiarity)
    except KeyboardInterrupt:
        raise _interrupted(wanted, tally, len(found)) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a job, keep the answers as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _classified(
    wanted: Wanted,
    classifier: Classifier,
    found: Sequence[PictureInput],
    out: Path | None,
    tally: _Tally,
    abstention: Abstention | None,
    familiarity: Familiarity | None,
) -> Predictions:
    top = min(wanted.top, len(classifier.class_names))
    kept: list[PredictedPicture] = []
    begin = time.monotonic()
    answers = classify(
        classifier,
        found,
        top,
        batch_size=wanted.batch_size,
        threshold=None if abstention is None else abstention.threshold,
        familiarity=familiarity,
    )
    with (
        nullcontext() if out is None else answer_file(out, top) as file,
        progress(len(found), shown=_has_room(wanted)) as advance,
    ):
        for item in answers:
            _take(item, wanted, file, kept)
            tally.count(item)
            advance()
        seconds = time.monotonic() - begin
        document = Predictions(
            run=wanted.run,
            predictions=kept,
            status="failed" if tally.unreadable else "ok",
            pictures=tally.pictures,
            unreadable=tally.unreadable,
            engine=classifier.engine,
            seconds=seconds,
            file=out,
            abstained=None if abstention is None else tally.abstained,
            unfamiliar=None if familiarity is None else tally.unfamiliar,
            abstention=None if abstention is None else AbstentionFigures.model_validate(abstention),
        )
        if file is not None:
            file.close(document)
    if out is not None:
        put_back(out)
    _sum_up(wanted, document, tally)
    return document


def _take(
    item: Prediction, wanted: Wanted, file: AnswerFile | None, kept: list[PredictedPicture]
) -> None:
    if file is not None:
        file.write(item)
    elif wanted.quiet:
        kept.append(PredictedPicture.model_validate(item))
    elif item.error is None:
        answer = zip(item.classes, item.confidences, strict=False)
        texts = [f"{printable(name)} {percent(share)}" for name, share in answer]
        if item.abstained:
            texts = [f"no answer ({percent(item.confidences[0])})"]
        if item.unfamiliar:
            texts.append(f"unfamiliar (distance {item.distance:.2f})")
        print("  ".join([printable(item.path), *texts]))


def _familiarity(run: RunResult, quiet: bool) -> Familiarity:
    found = load_familiarity(run)
    if found is None:
        if not quiet:
            say("Looking at training images, to know what is familiar; once for a run.")
        found = learn_familiarity(run)
    return found


def _sum_up(wanted: Wanted, document: Predictions, tally: _Tally) -> None:
    if wanted.quiet:
        return
    if tally.others:
        say(
            f"Left out: {plural(tally.others, 'other file')} without the suffix of a picture. Give "
            f"a file itself to have it read."
        )
    if document.abstention is not None:
        say(_abstention_text(document.abstention, tally))
    if document.unfamiliar:
        say(
            f"Unlike the training images: {plural(document.unfamiliar, 'picture')}. Of the "
            f"validation images 1 % are as far."
        )
    for error in tally.errors:
        say(f"error: {error}")
    more = tally.unreadable - len(tally.errors)
    if more:
        where = f"see {wanted.out}" if wanted.out else "--out FILE.csv lists them all"
        say(f"error: {plural(more, 'more picture')} could not be read: {where}.")
    if wanted.out is not None:
        seconds = document.seconds or 0.0
        unreadable = f", {tally.unreadable:,} not read" if tally.unreadable else ""
        speed = rate(tally.pictures / seconds if seconds else None)
        say(
            f"{plural(tally.pictures, 'picture')}{unreadable}, {clock(seconds)}, {speed}, "
            f"{document.engine}: {wanted.out}"
        )


def _abstention_text(found: AbstentionFigures, tally: _Tally) -> str:
    def share(coverage: float, accuracy: float | None) -> str:
        right = f", {percent(accuracy)} of them right" if accuracy is not None else ""
        return f"{percent(coverage)} answered{right}"

    return (
        f"No answer to {plural(tally.abstained, 'picture')}, where the confidence is below "
        f"{percent(found.threshold)}. "
        f"Validation: {share(found.validation_coverage, found.validation_accuracy)}; "
        f"test: {share(found.test_coverage, found.test_accuracy)}."
    )


def _has_room(wanted: Wanted) -> bool:
    """Return whether standard error is a terminal that no answers pass through."""
    answers_pass = wanted.out is None and not wanted.quiet and sys.stdout.isatty()
    return sys.stderr.isatty() and not answers_pass


def _interrupted(wanted: Wanted, tally: _Tally, total: int) -> Interrupted:
    where = f" after {tally.pictures:,} of {plural(total, 'picture')}" if tally.pictures else ""
    kept = "Nothing was kept."
    if wanted.out is not None and tally.pictures:
        unfinished = unfinished_path(wanted.out)
        with suppress(ObjectStoreError):
            put_back(unfinished)
        kept = f"Kept: the answers so far, in {unfinished}."
    return Interrupted(f"Interrupted{where}.\n{kept}", wanted.command, RUN_AGAIN)
