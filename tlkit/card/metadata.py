"""The metadata block of a model card, as the Hugging Face Hub reads it."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from tlkit.card.facts import Facts
from tlkit.wording import plural


def metadata(facts: Facts) -> dict[str, Any]:
    """Return the metadata; what is not known, such as a licence, is left out.

    The keys are those of the Hub's model cards:
    https://huggingface.co/docs/hub/model-cards#model-card-metadata.
    """
    result, hub_dataset = facts.result, facts.hub_dataset
    test = result.test
    tags = ["image-classification", "transfer-learning", "tlkit"]
    backbone = facts.options("backbone").get("name")
    metrics: list[dict[str, Any]] = [
        {"type": "accuracy", "value": round(test.accuracy, 6), "name": "Test accuracy"}
    ]
    if test.macro_f1 is not None:
        f1 = {"type": "f1", "value": round(test.macro_f1, 6), "name": "Macro F1"}
        metrics.append({**f1, "args": {"average": "macro"}})
    if test.top_5 is not None:
        metrics.append(
            {"type": "top_5_accuracy", "value": round(test.top_5, 6), "name": "Top-5 accuracy"}
        )
    found: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": [*tags, str(backbone)] if backbone else tags,
    }
    if facts.hub_base_model is not None:
        found["base_model"] = facts.hub_base_model
    if hub_dataset is not None:
        found["datasets"] = [hub_dataset]
    found["metrics"] = list(dict.fromkeys(item["type"] for item in metrics))
    found["model-index"] = [
        {
            "name": result.info.name,
            "results": [
                {
                    "task": {"type": "image-classification", "name": "Image classification"},
                    "dataset": _tested_on(facts),
                    "metrics": metrics,
                }
            ],
        }
    ]
    return found


def _tested_on(facts: Facts) -> dict[str, str]:
    """Return what the test figures are of; a split is named only where they are of all of it."""
    split, hub_dataset = facts.whole_test_split, facts.hub_dataset
    if split is not None:
        return {"name": facts.dataset, "type": hub_dataset or facts.dataset, "split": split}
    source, path = (str(facts.options("dataset").get(key) or "") for key in ("name", "path"))
    name = facts.dataset
    if path and facts.published:
        name = f"{PurePath(path).name}, read as {name}"
        # The Hub would rank the figures among those of the published split.
        hub_dataset, source = None, "custom"
    images = plural(len(facts.result.test.labels), "test image")
    return {"name": f"{name}: {images}", "type": hub_dataset or source or "data"}


def front_matter(facts: Facts) -> str:
    """Return the metadata as the YAML block that a model card begins with."""
    import yaml

    text = yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---\n"
