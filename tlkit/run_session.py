"""The session of a run: made of a Trainer's plugins, and trained by its workflow."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tlkit.checkpoint import Checkpoints
from tlkit.engine_choice import EngineChooser
from tlkit.errors import ConfigError, PluginError
from tlkit.events import Events
from tlkit.fingerprint import KnownDigests
from tlkit.machines import Machines
from tlkit.model import Trunk, build_backbone
from tlkit.plugin import Plugin
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.session import Session
from tlkit.subsets import Subset

if TYPE_CHECKING:
    from tlkit.trainer import Trainer


def plugins_of(trainer: Trainer) -> tuple[Plugin, ...]:
    """Return the plugins whose packages a run needs and records."""
    return (
        trainer.backbone,
        trainer.head,
        trainer.dataset,
        trainer.workflow,
        *trainer.reporters,
    )


def import_modules(plugins: Iterable[Plugin]) -> None:
    """Import what plugins say that they need, before anything is computed.

    Raises:
        PluginError: If a module is missing.
    """
    for plugin in plugins:
        modules: object = plugin.modules  # of others' plugins, whatever they wrote
        if isinstance(modules, str):
            raise PluginError(
                f"{describe_plugin(plugin)} has modules = {modules!r}; allowed: a tuple, such as "
                f"({modules!r},)."
            )
        for module in plugin.modules:
            try:
                importlib.import_module(module)
            except ImportError as err:
                how = f"pip install {plugin.install}" if plugin.install else "Install it"
                if module.partition(".")[0] == type(plugin).__module__.partition(".")[0]:
                    how = "Correct its name in the plugin's `modules`"
                raise PluginError(
                    f"{describe_plugin(plugin)} needs {module}, which cannot be imported: "
                    f"{err}. {how}, or leave the {plugin.kind} out."
                ) from err
    importlib.import_module("sklearn.metrics")


def make_session(
    trainer: Trainer,
    class_names: tuple[str, ...],
    subsets: Mapping[Any, Subset],
    *,
    events: Events,
    engines: EngineChooser,
    digests: KnownDigests,
    checkpoints: Checkpoints,
    machines: Machines,
    trunk: Trunk | None = None,
) -> Session:
    """Build the model, and return what the workflow works with.

    Args:
        trainer: Its plugins and settings are those of the session.
        class_names: The class names in the order of the labels.
        subsets: The images to train on, to validate on and to test on.
        events: Tells the reporters.
        engines: Chooses what runs the frozen backbone.
        digests: Those of the images that are known already.
        checkpoints: Where the state of the training is kept.
        machines: What the session computes on.
        trunk: What stands before the head, frozen; None to build it.

    Raises:
        PluginError: If a plugin builds something of the wrong shape.
        ConfigError: If the model cannot be saved as the Trainer says.
    """
    import keras

    from tlkit.model import assemble, fits_h5

    keras.utils.set_random_seed(trainer.seed)
    network = build_backbone(trainer.backbone) if trunk is None else None
    # A head starts from the same weights whatever the backbone drew before it.
    keras.utils.set_random_seed(trainer.seed)
    model = assemble(
        trainer.backbone,
        trainer.head,
        len(class_names),
        network=network,
        views=trainer.test_time_augmentation.views,
        trunk=trunk,
    )
    if trunk is None and "h5" in trainer.save and not fits_h5(model.model):
        raise ConfigError(
            f"[run] save = 'h5' is not allowed for {trainer.backbone.name} with "
            f"{trainer.head.name}: Keras cannot read operations without a layer, such as those of "
            f"[test_time_augmentation], or networks of other libraries, back from .h5. Use "
            f"save = ['keras']."
        )
    return Session(
        model=model,
        backbone=trainer.backbone,
        head=trainer.head,
        class_names=class_names,
        subsets=subsets,
        store=trainer.store,
        engines=engines,
        events=events,
        seed=trainer.seed,
        feature_type=trainer.feature_type,
        views=trainer.views,
        augmentation=trainer.augmentation,
        test_time_augmentation=trainer.test_time_augmentation,
        digests=digests,
        checkpoints=checkpoints,
        cluster=machines.extraction,
        replicas=machines.replicas,
    )


def run_workflow(trainer: Trainer, session: Session) -> None:
    """Train a session as the Trainer's workflow does.

    Raises:
        PluginError: If the workflow trains nothing.
        TlkitError: If the training fails.
    """
    with plugin_call(trainer.workflow, "run()"):
        trainer.workflow.run(session)
    if not session.phases:
        raise PluginError(f"{describe_plugin(trainer.workflow)} trained nothing.")
