"""What tlkit asks of a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from tlkit.records import RunResult
from tlkit.session import Session
from tlkit.testing.parts import small_trainer
from tlkit.testing.suite import Subject, check, expect
from tlkit.workflow import Workflow


class _Watched(Workflow):
    """A workflow that notes what is asked of the session."""

    name = "watched"

    def __init__(self, inner: Workflow) -> None:
        self.inner = inner
        self.fine_tunes = inner.fine_tunes
        self.asked: list[tuple[str, Any]] = []
        self._over = False

    def run(self, session: Session) -> None:
        """Run the other one."""
        for method in ("features", "predict", "logits", "features_of", "fine_tune"):
            self._watch(session, method)
        self.inner.run(session)
        self._over = True

    def _note(self, method: str, name: Any) -> None:
        # What the Trainer asks for afterwards is not the workflow's.
        if not self._over:
            self.asked.append((method, name))

    def _watch(self, session: Session, method: str) -> None:
        inner: Callable[..., Any] = getattr(session, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._note(method, args[0] if args else kwargs.get("name"))
            return inner(*args, **kwargs)

        setattr(session, method, call)


def _run(subject: Subject) -> tuple[RunResult, _Watched]:
    watched = _Watched(cast(Workflow, subject.make()))
    return small_trainer(subject.folder, workflow=watched, runs=None).run(), watched


def _first(subject: Subject) -> tuple[RunResult, _Watched]:
    return cast(tuple[RunResult, _Watched], subject.once("run", lambda: _run(subject)))


@check("workflow")
def trains(subject: Subject) -> None:
    """run() trains one phase or more on a small data set, and moves the weights."""
    result, _ = _first(subject)
    expect(
        all(len(values) > 0 for phase in result.phases for values in phase.history.values()),
        "A phase ended without an epoch.",
    )


@check("workflow", needs=("trains",))
def trains_the_same_again(subject: Subject) -> None:
    """The same seed gives the same weights, so that a run can be repeated and resumed."""
    first, second = _first(subject)[0], _run(subject)[0]
    expect(
        all(
            np.allclose(old.numpy(), new.numpy(), rtol=1e-4, atol=1e-6)
            for old, new in zip(first.model.weights, second.model.weights, strict=True)
        ),
        "Two runs with the same seed end with other weights. Draw by "
        "numpy.random.default_rng(session.seed).",
    )


@check("workflow", needs=("trains",))
def leaves_the_test_set_alone(subject: Subject) -> None:
    """run() does not look at the test set: whatever is chosen by it makes its figures too good."""
    _, watched = _first(subject)
    used = sorted({method for method, name in watched.asked if name == "test"})
    expect(
        not used,
        f"It looks at the test set: session.{', session.'.join(used)}. Choose by 'validation'.",
    )


@check("workflow", needs=("trains",))
def says_whether_it_fine_tunes(subject: Subject) -> None:
    """A workflow that calls fine_tune() says fine_tunes = True: TensorFlow starts by it."""
    _, watched = _first(subject)
    calls = any(method == "fine_tune" for method, _ in watched.asked)
    expect(
        watched.fine_tunes or not calls,
        "It calls session.fine_tune() and says fine_tunes = False. Leave that at True.",
    )
