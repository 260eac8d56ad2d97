"""Records: the plain, frozen values that pass between the parts of a run."""

from __future__ import annotations

from tlkit.records.arrays import Float32Array, Int64Array, UInt8Array
from tlkit.records.evaluation import (
    Calibration,
    ClassReport,
    Evaluation,
    Reliability,
    ReliabilityBin,
)
from tlkit.records.extraction import EngineTrial, Extraction
from tlkit.records.images import (
    Duplicate,
    ImageData,
    ImageSequence,
    LabelledFeatures,
    PictureNote,
    Split,
)
from tlkit.records.lineage import Ancestor, Lineage
from tlkit.records.run import RunInfo, RunResult
from tlkit.records.training import Phase, PhaseResult

__all__ = [
    "Ancestor",
    "Calibration",
    "ClassReport",
    "Duplicate",
    "EngineTrial",
    "Evaluation",
    "Extraction",
    "Float32Array",
    "ImageData",
    "ImageSequence",
    "Int64Array",
    "LabelledFeatures",
    "Lineage",
    "Phase",
    "PhaseResult",
    "PictureNote",
    "Reliability",
    "ReliabilityBin",
    "RunInfo",
    "RunResult",
    "Split",
    "UInt8Array",
]
