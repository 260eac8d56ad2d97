"""What a run started from: its parent, that one's parent, and what was taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ancestor:
    """A finished run that another one started from.

    Attributes:
        name: The name of the run.
        folder: Where it was kept; it may be gone by now.
        began: When it began, as ``RunInfo.began``.
        model: The SHA-256 of its model's file.
        accuracy: Its own test accuracy, 0 to 1, on its own test images.
        num_test: Number of these.
        backbone: The name of its backbone.
        head: The name of its head.
        num_classes: Number of classes that it knew.
        epochs: Number of epochs that it trained.
    """

    name: str
    folder: str
    began: str
    model: str
    accuracy: float
    num_test: int
    backbone: str
    head: str
    num_classes: int
    epochs: int = 0


@dataclass(frozen=True)
class Lineage:
    """What a run started from, and what it took over; the backbone's weights always.

    Attributes:
        ancestors: The run that this one started from, then the one that that started from, ...
        head: ``"kept"`` with its weights; ``"grown"``: kept, with new classes beside the old ones;
            or ``"new"``.
        reason: Why the head is new; empty if it is not.
        new_classes: The classes that the parent does not know.
        dropped_classes: The classes of the parent that this run does not know.
        replayed_classes: The classes whose images come from the parent's data.
        known_test_images: Number of test images of classes that the parent knows.
        accuracy_before: Share of these that are right before the first step, when the answer is one
            of the parent's classes, 0 to 1; None if the head is new, or there are none.
        accuracy_after: Share of these that are right in the end, when the answer is any class.
        seen_test_images: Number of test images that an ancestor was trained on; None if that could
            not be found out.
        seen_validation_images: The same of the validation images.
    """

    ancestors: tuple[Ancestor, ...]
    head: Literal["kept", "grown", "new"]
    reason: str = ""
    new_classes: tuple[str, ...] = ()
    dropped_classes: tuple[str, ...] = ()
    replayed_classes: tuple[str, ...] = ()
    known_test_images: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    seen_test_images: int | None = None
    seen_validation_images: int | None = None

    @property
    def parent(self) -> Ancestor:
        """The run that this one started from."""
        return self.ancestors[0]
