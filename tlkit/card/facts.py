"""Facts of a finished run that both cards tell, in words and as they were recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tlkit.card.markdown import code, escape, listed
from tlkit.errors import UnknownPluginError
from tlkit.paths import expand_home
from tlkit.records import ClassReport, PhaseResult, RunResult
from tlkit.registry import Registry
from tlkit.wording import accuracy_text, lineage_rows, old_classes_text, percent, plural

# Data sets that tlkit reads under a name of its own: title, identifier on the Hugging Face Hub, and
# number of images in the published test split.
_PUBLISHED = {
    "cifar10": ("CIFAR-10", "uoft-cs/cifar10", 10_000),
    "cifar100": ("CIFAR-100", "uoft-cs/cifar100", 10_000),
    "fashion_mnist": ("Fashion-MNIST", "zalando-datasets/fashion_mnist", 10_000),
    "digits": ("scikit-learn's handwritten digits", None, None),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FEW_IMAGES = 30
_UNEVEN = 3.0


@dataclass(frozen=True)
class Facts:
    """A finished run, and what can be said of it.

    Attributes:
        result: The run.
        registry: Where its plugins are looked up; those that are missing are called by their name.
    """

    result: RunResult
    registry: Registry

    @property
    def name(self) -> str:
        """Name of the run, as Markdown."""
        return escape(self.result.info.name)

    def options(self, kind: str) -> Mapping[str, Any]:
        """Return a table of the config, such as that of the backbone; empty if there is none."""
        found = self.result.info.config.get(kind)
        return found if isinstance(found, Mapping) else {}

    def plugin(self, kind: str) -> Any:
        """Return the class of the run's plugin of a kind; None if no package registers it."""
        try:
            return self.registry.get(kind, str(self.options(kind).get("name", "")))
        except UnknownPluginError:
            return None

    @property
    def backbone(self) -> str:
        """The backbone, as Markdown: the name of its architecture where that is known."""
        name = str(self.options("backbone").get("name", "a network"))
        family = getattr(self.plugin("backbone"), "family", None)
        alpha = self.options("backbone").get("alpha", 1.0)
        title = escape(str(getattr(family, "builder", "") or name))
        return title if alpha == 1.0 else f"{title} (alpha {alpha:g})"

    @property
    def head(self) -> str:
        """The name of the head, as Markdown."""
        return code(str(self.options("head").get("name", "a head")))

    @property
    def weights(self) -> str:
        """What the backbone's weights were, as Markdown."""
        backbone = self.options("backbone")
        lineage = self.result.info.lineage
        if lineage is not None:
            return f"the weights of the finished run {code(PurePath(lineage.parent.folder).name)}"
        weights = str(backbone.get("weights", ""))
        if weights == "random":
            return "random weights"
        if weights == "imagenet":
            return "weights pretrained on ImageNet"
        if weights == "cifar10":
            return "weights pretrained on CIFAR-10 that ship inside tlkit"
        if "preset" in backbone:
            return f"weights of the preset {code(str(backbone['preset']))}"
        return f"the weights {code(PurePath(weights).name)}" if weights else "weights of its own"

    @property
    def image_size(self) -> int | None:
        """Side in pixels of what the backbone sees; None where its plugin has no such option."""
        size = self.options("backbone").get("image_size")
        return size if isinstance(size, int) else None

    @property
    def native_pixels(self) -> str:
        """The pixel range that the weights want, such as ``"[-1, 1]"``; empty if not known."""
        return str(getattr(getattr(self.plugin("backbone"), "family", None), "pixels", ""))

    @property
    def native_size(self) -> int | None:
        """Side in pixels that ImageNet weights were trained at; None if it is not known."""
        return getattr(getattr(self.plugin("backbone"), "family", None), "native_size", None)

    @property
    def wrong_pixels(self) -> bool:
        """Whether pretrained weights get pixels in another range than they were trained on."""
        backbone = self.options("backbone")
        return (
            backbone.get("preprocessing") == "unit"
            and self.native_pixels == "[-1, 1]"
            and backbone.get("weights") != "random"
        )

    @property
    def fine_tuned(self) -> PhaseResult | None:
        """The last phase that changed the backbone; None if it stayed frozen."""
        head = self.result.phases[0].phase.trainable_parameters
        found = [
            item
            for item in self.result.phases
            if item.phase.name == "fine-tune" or item.phase.trainable_parameters > head
        ]
        return found[-1] if found else None

    @property
    def dataset(self) -> str:
        """Title of the data set, as plain text."""
        dataset = self.options("dataset")
        name = str(dataset.get("name", "data"))
        if name in _PUBLISHED:
            return _PUBLISHED[name][0]
        path = dataset.get("path")
        if isinstance(path, str):
            return self.hub_dataset or f"{PurePath(path).name} ({name})"
        return name

    @property
    def hub_dataset(self) -> str | None:
        """The data set's identifier on the Hugging Face Hub; None where that is not known."""
        dataset = self.options("dataset")
        name, path = str(dataset.get("name", "")), dataset.get("path")
        if name in _PUBLISHED:
            return _PUBLISHED[name][1]
        if name == "huggingface" and isinstance(path, str) and _HUB_ID.fullmatch(path):
            return None if expand_home(path).exists() else path
        return None

    @property
    def published(self) -> bool:
        """Whether tlkit has a name of its own for the data set."""
        return self.options("dataset").get("name") in _PUBLISHED

    @property
    def whole_test_split(self) -> str | None:
        """The published split that the test figures are of; None where that is not known.

        A file that was given by its path may hold anything; a split of the Hub may have been
        made up from training images, or have lost pictures that could not be read.
        """
        dataset = self.options("dataset")
        name, path = str(dataset.get("name", "")), dataset.get("path")
        if name in _PUBLISHED:
            whole = len(self.result.test.labels) == _PUBLISHED[name][2]
            return "test" if whole and path is None else None
        if self.hub_dataset is None or dataset.get("broken", "error") != "error":
            return None
        split = str(dataset.get("test") or "")
        return split if re.fullmatch(r"[\w.-]+", split) else None

    @property
    def hub_base_model(self) -> str | None:
        """The base model's identifier on the Hugging Face Hub; None where that is not known."""
        backbone = self.options("backbone")
        preset = str(backbone.get("preset", ""))
        if backbone.get("weights") == "random" or not preset.startswith("hf://"):
            return None
        found = preset.removeprefix("hf://").partition("@")[0]
        return found if _HUB_ID.fullmatch(found) else None

    @property
    def local_data(self) -> str:
        """A sentence about a local copy; empty if the data set is not given by a path."""
        path = self.options("dataset").get("path")
        if not isinstance(path, str) or self.options("dataset").get("name") == "huggingface":
            return ""
        return (
            f"They were read from {code(PurePath(path).name)}; whether that equals what was "
            f"published was not checked."
        )

    @property
    def training_views(self) -> int:
        """How many views of each training picture the head learnt from on the frozen backbone."""
        stored = 1 + int(self.options("features").get("views", 0))
        return stored * (self.result.info.num_looks if self.fine_tuned is None else 1)

    def lineage(self) -> str:
        """Say what the run started from, and how far the old classes are known; may be empty."""
        lineage = self.result.info.lineage
        if lineage is None:
            return ""
        (_, origin), (_, taken) = lineage_rows(lineage)
        change = old_classes_text(lineage)
        seen, total = lineage.seen_test_images, self.result.info.num_test
        known = (
            "whether it was trained on test images of this one is not known"
            if seen is None
            else f"{seen:,} of the {total:,} test images were trained on before this run"
        )
        parts = [
            f"It started from the finished run {escape(origin)}",
            f"it took over {escape(taken)}",
            change,
            known,
        ]
        return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)

    def looks(self) -> str:
        """Say which views of a picture the model averages over; empty if it sees it once."""
        looks = self.result.info.looks
        return f"Its answer to a picture is the mean of the logits over {looks}." if looks else ""

    def accuracy(self) -> str:
        """Say how many test images are right, with the interval."""
        test = self.result.test
        right = int((test.predictions == test.labels).sum())
        return f"{right:,} of {len(test.labels):,} test images right: {accuracy_text(test)}"

    def against_chance(self) -> str:
        """Compare the accuracy with that of always giving the most frequent class."""
        test = self.result.test
        most = max(test.classes, key=lambda item: item.support)
        share = most.support / max(len(test.labels), 1)
        even = all(item.support == most.support for item in test.classes)
        answer = "the same" if even else escape(most.name)
        text = f"Always answering {answer} would be right on {percent(share)}"
        low = test.accuracy if test.accuracy_interval is None else test.accuracy_interval[0]
        if low <= share:
            return f"{text}, so that it has not been shown to be better than that."
        return f"{text}."

    def validation(self) -> str:
        """Say what the validation images were."""
        info = self.result.info
        if info.validates_on_test:
            return (
                "Validation was the test set: whatever was chosen by looking at validation figures "
                "was chosen by the test images, and the test figures flatter it."
            )
        if not info.num_validation:
            return "There were no validation images."
        text = f"{plural(info.num_validation, 'validation image')} beside the test images"
        shared = info.duplicates.get("validation_in_test", 0)
        if shared:
            return f"There were {text}, but {shared:,} of them are also test images."
        return f"There were {text}; the test images were used once, at the end."

    def leakage(self) -> str:
        """Say whether test images are also training images."""
        found, info = self.result.info.duplicates, self.result.info
        if not found:
            return "Whether test images are also training images was not recorded."
        test, conflicts = found.get("test", 0), found.get("label_conflicts", 0)
        if not test:
            text = "No test image is, byte for byte, a training image; near copies are not found."
        elif self.options("run").get("duplicates") == "drop":
            text = (
                f"{plural(test, 'test image')} had a copy, byte for byte, among the training "
                f"images; these copies were taken out of training."
            )
        else:
            share = percent(test / max(info.num_test, 1))
            text = (
                f"{plural(test, 'test image')} ({share}) are also training images, byte for byte: "
                f"the test figures are too good by what the model knows by heart."
            )
        if conflicts:
            text += f" {plural(conflicts, 'image')} had copies with another label."
        return text

    def calibration(self) -> str:
        """Say whether the confidences can be believed."""
        test, found = self.result.test, self.result.test.calibration
        if found is None:
            return "Whether its confidences can be believed was not measured."
        saved = found.saved
        sure = float(test.probabilities.max(axis=1).mean())
        text = (
            f"On average it is {percent(sure)} sure and {percent(test.accuracy)} right. The "
            f"expected calibration error is {percent(saved.expected_calibration_error)}; "
            f"{percent(saved.error_by_chance)} would come about by chance alone if every "
            f"confidence were true."
        )
        if found.temperature is None or found.calibrated is None:
            reason = f": {escape(found.reason)}" if found.reason else ""
            return f"{text} No temperature was fitted{reason}."
        if found.applied:
            before = percent(found.uncalibrated.expected_calibration_error)
            return (
                f"{text} The temperature {found.temperature:.2f} is part of it ({before} without)."
            )
        after = percent(found.calibrated.expected_calibration_error)
        return (
            f"{text} Its logits divided by {found.temperature:.2f}, a temperature fitted on the "
            f"validation images, would give {after}; the saved model does not do so."
        )

    def weakest(self, number: int = 3) -> list[ClassReport]:
        """Return the classes with test images that are found least often."""
        tested = [item for item in self.result.test.classes if item.support]
        return sorted(tested, key=lambda item: item.recall)[:number]

    def confusion(self) -> str:
        """Name the most frequent confusion; empty if there is none."""
        found = self.result.test.confusions(1)
        if not found:
            return ""
        ((true, predicted, count),) = found
        names = self.result.info.class_names
        of = int(self.result.test.confusion_matrix[true].sum())
        return (
            f"Most often {escape(names[true])} is taken for {escape(names[predicted])}: "
            f"{count:,} of {of:,}."
        )

    def limits(self) -> list[str]:
        """Return what limits the use of the model, as sentences that this run gives cause for."""
        info, test = self.result.info, self.result.test
        size = self.image_size
        found = [
            f"It knows {len(info.class_names)} classes and gives one of them to every picture, to "
            f"one that shows none of them too."
        ]
        if size is not None:
            found.append(
                f"It sees each picture at {size} x {size} pixels; what cannot be told "
                f"apart at that size, it cannot tell apart."
            )
        found.append(
            f"It was tested on {plural(len(test.labels), 'image')} from the source of its training "
            f"images. Nothing is known of pictures from elsewhere."
        )
        few = [item.name for item in test.classes if item.support < _FEW_IMAGES]
        if few:
            some = listed([escape(name) for name in few[:5]])
            more = f" and {len(few) - 5} more" if len(few) > 5 else ""
            found.append(
                f"Of {some}{more} there are fewer than {_FEW_IMAGES} test images, so that their "
                f"figures say little."
            )
        if info.class_counts and info.imbalance >= _UNEVEN:
            uneven = (
                "one has none"
                if not min(info.class_counts)
                else f"the largest class has {info.imbalance:.1f} times the smallest's"
            )
            found.append(f"Its training images are uneven: {uneven}.")
        few_shot = self.options("run").get("few_shot")
        if few_shot:
            found.append(f"It was trained on at most {few_shot} images of each class.")
        found += self._doubts()
        weakest = [item for item in self.weakest() if item.recall < test.accuracy]
        if weakest:
            names = [f"{escape(item.name)} ({percent(item.recall)})" for item in weakest]
            found.append(f"It finds these least often: {listed(names)}. {self.confusion()}".strip())
        if self.wrong_pixels:
            found.append(
                "Its pixels are divided by 255, while the backbone's weights were trained on "
                f"{self.native_pixels}."
            )
        return found

    def _doubts(self) -> list[str]:
        """Return what makes the test figures say less than they seem to."""
        info, test = self.result.info, self.result.test
        low = test.accuracy if test.accuracy_interval is None else test.accuracy_interval[0]
        found = []
        if low <= max(item.support for item in test.classes) / max(len(test.labels), 1):
            found.append(self.against_chance())
        if info.validates_on_test or info.duplicates.get("validation_in_test"):
            found.append(self.validation())
        if not info.duplicates or info.duplicates.get("test"):
            found.append(self.leakage())
        saved = test.calibration and test.calibration.saved
        if saved and saved.expected_calibration_error > saved.error_by_chance:
            total = sum(item.count for item in saved.bins)
            sure = sum(item.count * item.confidence for item in saved.bins) / total
            found.append(
                f"Its confidences are too {'high' if sure > test.accuracy else 'low'}: on average "
                f"it is {percent(sure)} sure and {percent(test.accuracy)} right. Bin by bin they "
                f"are {percent(saved.expected_calibration_error)} off, and "
                f"{percent(saved.error_by_chance)} would come about by chance."
            )
        return found
