"""Records: the plain, frozen values that pass between the parts of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    UInt8Array = NDArray[np.uint8]
    Int64Array = NDArray[np.int64]
    Float32Array = NDArray[np.float32]
else:  # numpy takes a third of the time that listing plugins takes
    UInt8Array = Int64Array = Float32Array = Any


@runtime_checkable
class ImageSequence(Protocol):
    """Images that need not all be in memory: a numpy array, or a lazy sequence of pictures.

    ``images[i]`` is a uint8 array of shape (height, width, 3), values 0 to 255, RGB. Images of a
    lazy sequence may differ in size; those of an array do not.
    """

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int, /) -> UInt8Array: ...
    @overload
    def __getitem__(self, index: slice, /) -> Any: ...

    def __iter__(self) -> Iterator[UInt8Array]: ...


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8 array of shape (N, height, width, 3), or a lazy sequence of N pictures.
        labels: int64 array of shape (N,), values 0 to number of classes - 1.
        names: One name for each image, such as its file name; empty where they have none.
    """

    images: ImageSequence
    labels: Int64Array
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class PictureNote:
    """A picture that is changed when it is read, or that was left out.

    Attributes:
        name: Its name, as in ``Split.names``.
        kinds: What it is: ``"greyscale"``, ``"transparent"``, ``"CMYK"``, ``"palette"``,
            ``"16-bit"``, ``"animated"``, ``"rotated"``, ``"other colours"``; ``"broken"`` alone for
            one that was left out.
        done: For each kind what was done; for a broken one the reason.
    """

    name: str
    kinds: tuple[str, ...]
    done: tuple[str, ...]


@dataclass(frozen=True)
class Duplicate:
    """A test or validation image that is also a training image, byte for byte.

    Or a validation image that is also a test image; ``equals`` says which.

    Attributes:
        split: ``"test"`` or ``"validation"``.
        index: The image's index in its split's images, from 0; where tlkit drew the validation
            images out of the training images, its index among these.
        name: Its name; empty where images have none.
        label: Its class number.
        train_index: The index of the first training image that equals it; of the first with
            another label where there is one.
        train_name: The name of that training image.
        train_label: The class number of that training image.
        copies: How many training images equal it, 1 or more.
        equals: ``"train"``; or ``"test"`` for a validation image that is also a test image: the
            four fields above are then those of test images.
    """

    split: str
    index: int
    name: str
    label: int
    train_index: int
    train_name: str
    train_label: int
    copies: int
    equals: str = "train"

    @property
    def label_conflict(self) -> bool:
        """Whether one image has two labels."""
        return self.label != self.train_label


@dataclass(frozen=True)
class ImageData:
    """What a dataset source loads.

    Attributes:
        train: The training images; a validation split is taken out of them by the Trainer.
        test: The test images, used once, at the end.
        class_names: The class names in the order of the labels.
        validation: Validation images, where the dataset comes with its own.
        notes: What the user should know, such as files that are no pictures.
        pictures: The pictures that are changed when they are read, and those that were left out;
            the Trainer sums them up in the run's notes.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None
    notes: tuple[str, ...] = ()
    pictures: tuple[PictureNote, ...] = ()


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of images, and the images' labels.

    Attributes:
        features: float32 array (N, *shape of one image's features).
        labels: int64 array of shape (N,), values 0 to ``num_classes`` - 1.
        num_classes: Number of classes; some may have no image here.
    """

    features: Float32Array
    labels: Int64Array
    num_classes: int


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


@dataclass(frozen=True)
class RunInfo:
    """What is known when a run begins; reporters receive it in ``on_run_begin``.

    Attributes:
        name: The name of the run.
        folder: Where the run is kept; None for a run that is not saved.
        config: The resolved config, as in ``config.toml``.
        class_names: The class names in the order of the labels.
        num_train: Number of images trained on, without the validation split.
        num_validation: Number of validation images.
        num_test: Number of test images.
        notes: What the user should know, such as validation on the test set.
        idle_options: For each kind of plugin the options that change nothing in this run.
        class_counts: Number of images trained on of each class, in the order of the labels.
        duplicates: Number of ``test`` and of ``validation`` images that are also training images,
            of ``train`` images that repeat an earlier one, of images with two labels
            (``label_conflicts``), and of the data set's own validation images that are also test
            images (``validation_in_test``); all counted before ``few_shot``.
        validates_on_test: Whether the validation images are the test images. The config's
            ``validation = "test"`` does not say so where the data set brings validation images.
        began: When the run began, as ISO 8601 with the offset from UTC, such as
            ``"2026-11-24T12:08:16+01:00"``. Of a run that did not record it: what its folder's name
            says, without an offset; empty if that says nothing.
        lineage: The run that this one started from; None if it began from pretrained weights.
    """

    name: str
    folder: Path | None
    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    num_train: int
    num_validation: int
    num_test: int
    notes: tuple[str, ...] = ()
    idle_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    class_counts: tuple[int, ...] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)
    validates_on_test: bool = False
    began: str = ""
    lineage: Lineage | None = None

    @property
    def keeps_test_images(self) -> bool:
        """Whether the run folder may hold pictures of test images: ``[run] test_images``."""
        return bool(self.config.get("run", {}).get("test_images", True))

    @property
    def settings(self) -> dict[str, bool | int | float | str]:
        """The config in one level, such as ``{"backbone.image_size": 96}``, without reporters.

        What is not set is left out; lists and tables become JSON, other objects their type's name.
        """
        return {
            f"{table}.{key}": value if isinstance(value, bool | int | float | str) else _text(value)
            for table, entries in self.config.items()
            if isinstance(entries, Mapping)
            for key, value in entries.items()
            if value is not None
        }

    @property
    def num_looks(self) -> int:
        """How many views of an image the saved model averages the logits of; 1 for the image alone.

        Runs of before have no table ``[test_time_augmentation]``.
        """
        table = self.config.get("test_time_augmentation", {})
        return (1 + len(table.get("scales", ()))) * (2 if table.get("mirror") else 1)

    @property
    def looks(self) -> str:
        """These views in words, such as ``"2 views: the image and its mirror image"``.

        Empty for the image alone.
        """
        table = self.config.get("test_time_augmentation", {})
        names = ["the image", *(f"scale {scale:g}" for scale in table.get("scales", ()))]
        if self.num_looks == 1:
            return ""
        if len(names) == 1:
            return "2 views: the image and its mirror image"
        mirrored = ", each also mirrored" if table.get("mirror") else ""
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        return f"{self.num_looks} views: {listed}{mirrored}"

    @property
    def imbalance(self) -> float:
        """Images of the largest class for each image of the smallest: 1.0 is even.

        Infinite if a class has no image, and 1.0 if nothing is known.
        """
        if not self.class_counts:
            return 1.0
        smallest = min(self.class_counts)
        return max(self.class_counts) / smallest if smallest else float("inf")


@dataclass(frozen=True)
class Phase:
    """One stretch of training with a fixed set of trainable weights.

    Attributes:
        name: Such as ``"frozen"`` or ``"fine-tune"``.
        epochs: Number of passes over the training images.
        steps: Number of batches in one epoch; 0 for a head that is computed without steps.
        num_images: Number of training images.
        trainable_parameters: Number of parameters that this phase changes.
        frozen_parameters: Number of parameters that it must not change.
    """

    name: str
    epochs: int
    steps: int
    num_images: int
    trainable_parameters: int
    frozen_parameters: int


@dataclass(frozen=True)
class PhaseResult:
    """What a phase left behind.

    Attributes:
        phase: The phase.
        history: One list for each figure (``loss``, ``accuracy``, ``val_loss``, ``val_accuracy``),
            one value for each epoch; losses in nats, accuracies 0 to 1.
        seconds: Wall-clock time of the training, without feature extraction.
        kept_epoch: The epoch, from 1, whose weights early stopping put back; None for the last.
        chosen: What a head chose by the validation images, such as ``{"C": 0.01}``.
    """

    phase: Phase
    history: Mapping[str, list[float]]
    seconds: float
    kept_epoch: int | None = None
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_epochs(self) -> int:
        """How many epochs were recorded."""
        return max(map(len, self.history.values()), default=0)

    def figures(self, epoch: int | None = None) -> dict[str, float]:
        """Return what was recorded of an epoch, by the keys of the history.

        Args:
            epoch: From 1; by default the one whose weights the phase ended with.
        """
        number = epoch or self.kept_epoch or self.num_epochs
        return {
            key: float(values[number - 1])
            for key, values in self.history.items()
            if 0 < number <= len(values)
        }


@dataclass(frozen=True)
class ClassReport:
    """Figures of one class, or of an average over classes, on the test set; each 0 to 1."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose confidence, the largest probability, lies above lower and up to upper.

    Attributes:
        lower: Lower edge, 0 to 1.
        upper: Upper edge, 0 to 1.
        confidence: Mean confidence of these images, 0 to 1.
        accuracy: Share of right answers among them, 0 to 1.
        count: Number of these images, 1 or more.
    """

    lower: float
    upper: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """How far confidences keep what they promise.

    Attributes:
        expected_calibration_error: Mean distance between confidence and accuracy, 0 to 1.
        error_by_chance: About what it would be, on as many images with the same confidences, if
            every confidence were true, 0 to 1; an error no larger than this shows nothing.
        loss: Mean cross-entropy in nats.
        bins: The reliability diagram: the bins that hold images, in order.
    """

    expected_calibration_error: float
    error_by_chance: float
    loss: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Calibration:
    """The test images' confidences as trained, and with logits divided by a temperature.

    Attributes:
        uncalibrated: Of the model as it was trained.
        calibrated: With the temperature; None where there is none.
        temperature: Fitted on the validation images, above 0: above 1 it makes the model less
            confident, below 1 more. It changes no answer. None where none could be fitted.
        reason: Why there is no temperature; empty if there is one.
        applied: Whether the saved model, and so every other test figure, has the temperature.
    """

    uncalibrated: Reliability
    calibrated: Reliability | None = None
    temperature: float | None = None
    reason: str = ""
    applied: bool = False

    @property
    def saved(self) -> Reliability:
        """Of the model that is saved."""
        return self.calibrated if self.applied and self.calibrated else self.uncalibrated


@dataclass(frozen=True)
class Evaluation:
    """The test figures, all from one pass over the test images.

    Attributes:
        accuracy: Share of right answers, 0 to 1.
        loss: Mean cross-entropy in nats.
        labels: int64 array of shape (N,).
        probabilities: float32 array of shape (N, number of classes), rows sum to 1.
        confusion_matrix: int64 array (classes, classes); row = true class, column = predicted.
        classes: One report for each class.
        averages: The macro and the weighted average.
        accuracy_interval: Lower and upper end of the 95 % interval of the accuracy, 0 to 1.
        balanced_accuracy: Mean recall of the classes that the test images have, 0 to 1.
        top_5: Share of images whose class is among the five most probable, 0 to 1; None where
            there are five classes or fewer.
        calibration: Whether the probabilities can be believed.

    The last four are None where a run was recorded before they were measured.
    """

    accuracy: float
    loss: float
    labels: Int64Array
    probabilities: Float32Array
    confusion_matrix: Int64Array
    classes: tuple[ClassReport, ...]
    averages: tuple[ClassReport, ...]
    accuracy_interval: tuple[float, float] | None = None
    balanced_accuracy: float | None = None
    top_5: float | None = None
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        """Return the figures and the sizes; the arrays would fill screens."""
        return (
            f"Evaluation(accuracy={self.accuracy:.4f}, loss={self.loss:.4f}, "
            f"images={len(self.labels)}, classes={len(self.classes)})"
        )

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 over all classes, 0 to 1; None without averages."""
        return next((item.f1 for item in self.averages if item.name == "macro avg"), None)

    @property
    def scalars(self) -> dict[str, float]:
        """The figures that are one number, by the name that tools get; unknown ones are left out.

        ``accuracy`` and its interval's ends ``accuracy_low`` and ``accuracy_high``, ``loss``,
        ``balanced_accuracy``, ``macro_f1``, ``top_5_accuracy``, ``calibration_error``.
        """
        low, high = self.accuracy_interval or (None, None)
        saved = None if self.calibration is None else self.calibration.saved
        found = {
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "loss": self.loss,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "top_5_accuracy": self.top_5,
            "calibration_error": None if saved is None else saved.expected_calibration_error,
        }
        return {key: float(value) for key, value in found.items() if value is not None}

    @property
    def predictions(self) -> Int64Array:
        """The most probable class of each image: int64 array of shape (N,)."""
        found: Int64Array = self.probabilities.argmax(axis=1)
        return found

    @property
    def confident_mistakes(self) -> Int64Array:
        """Indices of all wrong answers, the most confident first: int64 array of shape (M,)."""
        import numpy as np

        wrong = np.flatnonzero(self.predictions != self.labels)
        confidences = self.probabilities[wrong].max(axis=1)
        found: Int64Array = wrong[np.argsort(-confidences, kind="stable")]
        return found

    @property
    def least_certain(self) -> Int64Array:
        """Indices of all test images, the lowest confidence first: int64 array of shape (N,)."""
        found: Int64Array = self.probabilities.max(axis=1).argsort(kind="stable")
        return found

    def confusions(self, most: int) -> list[tuple[int, int, int]]:
        """Return what is confused most often: true class, predicted class, number of images.

        Args:
            most: How many pairs of classes at the most, 0 or more.
        """
        import numpy as np

        wrong = self.confusion_matrix.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        pairs = (divmod(int(place), len(wrong)) for place in order)
        return [
            (true, predicted, int(wrong[true, predicted]))
            for true, predicted in pairs
            if wrong[true, predicted] > 0
        ]


@dataclass(frozen=True)
class EngineTrial:
    """How an engine compared with TensorFlow on images of the data set at hand.

    Attributes:
        engine: Its name.
        version: The version of its runtime.
        precision: What it computes in.
        accepted: Whether its features are TensorFlow's: a relative error up to 1e-3, and the same
            head accuracy.
        reason: Why it was not accepted; empty if it was.
        relative_error: Largest difference divided by the largest feature.
        accuracy: Of a head fitted to TensorFlow's features, on the engine's; 0 to 1.
        reference_accuracy: Of the same head on TensorFlow's features.
        images_per_second: Of the engine.
        reference_images_per_second: Of TensorFlow.
        setup_seconds: What it took to compile the model.
        remembered: Whether an earlier run measured this.
    """

    engine: str
    version: str
    precision: str
    accepted: bool
    reason: str = ""
    relative_error: float = 0.0
    accuracy: float = 0.0
    reference_accuracy: float = 0.0
    images_per_second: float = 0.0
    reference_images_per_second: float = 0.0
    setup_seconds: float = 0.0
    remembered: bool = False


@dataclass(frozen=True)
class Extraction:
    """One pass of images through the frozen backbone.

    Attributes:
        split: ``"train"``, ``"validation"`` or ``"test"``; ``"train, view 2"`` for a view.
        engine: The engine that ran it.
        num_images: Number of images that were computed, without those that were stored before.
        batch_size: Images in a batch, as a short probe found it.
        seconds: Wall-clock time.
        stage_seconds: Seconds of work in all threads together: ``read``, ``resize``, ``forward``;
            on a cluster of all workers together, ``write`` too.
        workers: Images that each worker of a cluster computed, by its node and process; none where
            this machine did it all.
    """

    split: str
    engine: str
    num_images: int
    batch_size: int
    seconds: float
    stage_seconds: Mapping[str, float]
    workers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """All that a run learned.

    Attributes:
        info: What was known when the run began.
        phases: What each phase left behind, in order.
        test: The test figures.
        seconds: Wall-clock seconds by part: ``start`` (importing TensorFlow), ``data``, ``model``,
            ``features``, ``training``, ``checkpoints`` (keeping the state after epochs),
            ``evaluation``, ``saving``, ``reports`` (what reporters did in ``on_run_end``, which is
            not told to them), and ``total``.
        fingerprints: SHA-256 digests: of the images, ``train``, ``test`` and, where the data set
            brings its own, ``validation``; of the class names and all labels, ``labels``; of the
            backbone's weights before training, ``weights``; of the model's file of the run that
            this one started from, ``parent``. Older runs have no ``labels``.
        environment: Versions of Python, tlkit and the libraries, and the machine.
        feature_cache: For each split, ``"stored"`` if its features were already on disk,
            ``"extracted"`` if this run computed them, or those that were missing or damaged.
        extractions: Where the time of each extraction went; empty if all features were stored.
        engine_trials: How engines other than TensorFlow compared with it.
        warnings: What went wrong without ending the run, such as a reporter that raised.
        model: The trained ``keras.Model``: pixels 0 to 255 in, probabilities out. None when the
            result was read back from a folder; ``load_model()`` loads it then.
        test_images: The test images, so that reporters can show them; None when read back.
        validation: The labels (N,) and the model's probabilities (N, number of classes) of the
            validation images; None where these are the test images, and when read back
            (``tlkit.run_folder.load_validation()``).
    """

    info: RunInfo
    phases: tuple[PhaseResult, ...]
    test: Evaluation
    seconds: Mapping[str, float]
    fingerprints: Mapping[str, str]
    environment: Mapping[str, str]
    feature_cache: Mapping[str, str] = field(default_factory=dict)
    extractions: tuple[Extraction, ...] = ()
    engine_trials: tuple[EngineTrial, ...] = ()
    warnings: tuple[str, ...] = ()
    model: Any = field(default=None, repr=False, compare=False)
    test_images: ImageSequence | None = field(default=None, repr=False, compare=False)
    validation: tuple[Int64Array, Float32Array] | None = field(
        default=None, repr=False, compare=False
    )

    def __repr__(self) -> str:
        """Return the name, the accuracy, the phases and the folder."""
        phases = ", ".join(repr(item.phase.name) for item in self.phases)
        folder = None if self.folder is None else str(self.folder)
        return (
            f"RunResult(name={self.info.name!r}, accuracy={self.accuracy:.4f}, "
            f"phases=[{phases}], folder={folder!r})"
        )

    def _repr_html_(self) -> str:
        """Return what notebooks show of a result: a piece of HTML without scripts."""
        from tlkit.notebook_display import result_html

        return result_html(self)

    @property
    def folder(self) -> Path | None:
        """Where the run is kept; None for a run that was not saved."""
        return self.info.folder

    @property
    def accuracy(self) -> float:
        """The test accuracy, 0 to 1."""
        return self.test.accuracy


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda item: f"<{type(item).__name__}>")
