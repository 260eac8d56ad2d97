"""The metadata block of a model card, as the Hugging Face Hub reads it."""

from __future__ import annotations

from typing import Any

from tlkit.card.facts import Facts


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
    source = str(facts.options("dataset").get("name", "data"))
    dataset = {"name": facts.dataset, "type": hub_dataset or source, "split": "test"}
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
                    "dataset": dataset,
                    "metrics": metrics,
                }
            ],
        }
    ]
    return found


def front_matter(facts: Facts) -> str:
    """Return the metadata as the YAML block that a model card begins with."""
    import yaml

    text = yaml.safe_dump(metadata(facts), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---\n"
