"""Workflow: the order of training phases, knowing no architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from tlkit.plugin import Plugin

if TYPE_CHECKING:
    from tlkit.head import Head
    from tlkit.session import Session


class Workflow(Plugin, ABC):
    """Trains the session's model, one phase after another.

    Attributes:
        fine_tunes: Whether ``run()`` may train the backbone. Where it does not, the command line
            starts TensorFlow in the way that is faster for frozen backbones.
    """

    kind: ClassVar[str] = "workflow"
    fine_tunes: bool = True

    @abstractmethod
    def run(self, session: Session) -> None:
        """Train ``session.model``.

        Args:
            session: The data, the model's parts and the tools of one run: ``train_head()`` trains
                the head on stored features, ``fine_tune()`` trains the whole model with chosen
                blocks unfrozen. Each call is one phase, reported and recorded.
        """

    def idle_options(self, head: Head | None = None) -> tuple[str, ...]:
        """Return the options that change nothing as the others are set.

        Args:
            head: The head that is trained, where that makes a difference.
        """
        return ()
