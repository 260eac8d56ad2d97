"""The phase of a closed-form head: solved on a session's features, or taken from a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlkit.errors import ConfigError
from tlkit.head import ClosedFormHead
from tlkit.head_solving import solve_head
from tlkit.losses import ClassWeight, class_weights
from tlkit.model import AssembledModel, assemble, count_parameters
from tlkit.records import LabelledFeatures, PhaseResult
from tlkit.session_features import labelled_features

if TYPE_CHECKING:
    import keras

    from tlkit.session import Session


def solve_phase(
    session: Session, head: ClosedFormHead, name: str, class_weight: ClassWeight, all_views: bool
) -> tuple[AssembledModel, PhaseResult]:
    """Solve the head of a session, unless an earlier process of the run has done so.

    Args:
        session: The session; it is not changed.
        head: Its head.
        name: Name of the phase.
        class_weight: Factors of the loss by class; see ``tlkit.losses.class_weights()``.
        all_views: Whether to learn from the views of the test-time augmentation too.

    Returns:
        The session's model with the solved head, and what the phase left behind.

    Raises:
        ConfigError: If the head would choose by the test images.
    """
    if head.chooses and session.validates_on_test:
        raise ConfigError(
            f"The head '{head.name}' would choose its settings by the test set: [run] "
            f"validation = 'test'. Set them all in [head], or validation to a share like 0.1."
        )
    number = len(session.phases)
    restored = session.checkpoints.load_solved(number)
    if restored is not None:
        network, result = restored
        session.events.emit("on_phase_begin", result.phase)
        metrics = {key: values[0] for key, values in result.history.items()}
        session.events.emit("on_epoch_end", result.phase, 1, metrics, result.seconds, restored=True)
    else:
        network, result = _solve(session, head, name, class_weight, all_views)
        session.checkpoints.save_solved(number, network, result)
    model = assemble(
        session.backbone,
        head,
        len(session.class_names),
        classifier=network,
        views=session.test_time_augmentation.views,
        trunk=session.model.trunk,
    )
    return model, result


def _solve(
    session: Session, head: ClosedFormHead, name: str, class_weight: ClassWeight, all_views: bool
) -> tuple[keras.Model, PhaseResult]:
    train = session.subsets["train"]
    parts = {
        part: LabelledFeatures(
            *labelled_features(session, part, all_views), len(session.class_names)
        )
        for part in ("train", "validation")
    }
    return solve_head(
        head,
        name,
        parts,
        class_weights(class_weight, train.split.labels[train.rows], session.class_names),
        len(train.rows),
        sum(count_parameters(session.model.backbone)),
        session.events,
        session.seed,
    )
