"""tlkit: image classification by transfer learning, with plugins."""

from __future__ import annotations

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from tlkit.atomic import atomic_path, atomic_write_text
from tlkit.backbone import Backbone
from tlkit.dataset import DatasetSource
from tlkit.engine import Engine
from tlkit.errors import (
    ClusterError,
    ConfigError,
    DataError,
    EngineError,
    ExplanationError,
    ExportError,
    PluginError,
    RunFolderError,
    TlkitError,
    TrainingError,
    UnknownPluginError,
    UnsafeFileError,
    WeightsError,
    did_you_mean,
)
from tlkit.head import ClosedFormHead, Head
from tlkit.hookspecs import hookimpl
from tlkit.paths import expand_home
from tlkit.plugin import Plugin
from tlkit.records import (
    Ancestor,
    Calibration,
    ClassReport,
    Duplicate,
    EngineTrial,
    Evaluation,
    Extraction,
    ImageData,
    ImageSequence,
    LabelledFeatures,
    Lineage,
    Phase,
    PhaseResult,
    PictureNote,
    Reliability,
    ReliabilityBin,
    RunInfo,
    RunResult,
    Split,
)
from tlkit.reporter import Reporter
from tlkit.text import printable, safe_cell
from tlkit.workflow import Workflow

if TYPE_CHECKING:
    from tlkit.archives import check_member, check_zip
    from tlkit.augmentation import Augmentation
    from tlkit.classifier import Answers, Classifier
    from tlkit.compare import compare_grid, compare_runs
    from tlkit.encoded_pictures import EncodedPictures, PictureFiles
    from tlkit.images import read_picture
    from tlkit.mirror import fetched
    from tlkit.model_file import check_model_config, check_weights
    from tlkit.picture_check import SKIP_HINT, PictureCheck, check_pictures
    from tlkit.picture_folders import (
        PICTURE_SUFFIXES,
        FolderScan,
        leads_out,
        list_pictures,
        scan_pictures,
    )
    from tlkit.picture_splits import picture_data
    from tlkit.registry import Registry
    from tlkit.report import write_index, write_report
    from tlkit.restricted_unpickling import Sealed, restricted_load
    from tlkit.run_folder import load_model, load_run
    from tlkit.session import Session
    from tlkit.splitting import split_rows
    from tlkit.store_urls import is_url
    from tlkit.stored_path import StoredPath, open_place
    from tlkit.sweep import run_sweep
    from tlkit.test_time_augmentation import TestTimeAugmentation
    from tlkit.trainer import Trainer

__version__ = _version("tlkit")

__all__ = [
    "PICTURE_SUFFIXES",
    "SKIP_HINT",
    "Ancestor",
    "Answers",
    "Augmentation",
    "Backbone",
    "Calibration",
    "ClassReport",
    "Classifier",
    "ClosedFormHead",
    "ClusterError",
    "ConfigError",
    "DataError",
    "DatasetSource",
    "Duplicate",
    "EncodedPictures",
    "Engine",
    "EngineError",
    "EngineTrial",
    "Evaluation",
    "ExplanationError",
    "ExportError",
    "Extraction",
    "FolderScan",
    "Head",
    "ImageData",
    "ImageSequence",
    "LabelledFeatures",
    "Lineage",
    "Phase",
    "PhaseResult",
    "PictureCheck",
    "PictureFiles",
    "PictureNote",
    "Plugin",
    "PluginError",
    "Registry",
    "Reliability",
    "ReliabilityBin",
    "Reporter",
    "RunFolderError",
    "RunInfo",
    "RunResult",
    "Sealed",
    "Session",
    "Split",
    "StoredPath",
    "TestTimeAugmentation",
    "TlkitError",
    "Trainer",
    "TrainingError",
    "UnknownPluginError",
    "UnsafeFileError",
    "WeightsError",
    "Workflow",
    "atomic_path",
    "atomic_write_text",
    "check_member",
    "check_model_config",
    "check_pictures",
    "check_weights",
    "check_zip",
    "compare_grid",
    "compare_runs",
    "did_you_mean",
    "fetched",
    "hookimpl",
    "is_url",
    "leads_out",
    "list_pictures",
    "load_model",
    "load_run",
    "open_place",
    "picture_data",
    "printable",
    "expand_home",
    "read_picture",
    "restricted_load",
    "run_sweep",
    "safe_cell",
    "scan_pictures",
    "split_rows",
    "write_index",
    "write_report",
]

# Loaded on first use: the commands that only list things need none of them.
_LAZY = {
    "Answers": "tlkit.classifier",
    "Augmentation": "tlkit.augmentation",
    "Classifier": "tlkit.classifier",
    "EncodedPictures": "tlkit.encoded_pictures",
    "FolderScan": "tlkit.picture_folders",
    "PICTURE_SUFFIXES": "tlkit.picture_folders",
    "PictureCheck": "tlkit.picture_check",
    "PictureFiles": "tlkit.encoded_pictures",
    "Registry": "tlkit.registry",
    "SKIP_HINT": "tlkit.picture_check",
    "Sealed": "tlkit.restricted_unpickling",
    "Session": "tlkit.session",
    "StoredPath": "tlkit.stored_path",
    "TestTimeAugmentation": "tlkit.test_time_augmentation",
    "Trainer": "tlkit.trainer",
    "check_member": "tlkit.archives",
    "check_model_config": "tlkit.model_file",
    "check_pictures": "tlkit.picture_check",
    "check_weights": "tlkit.model_file",
    "check_zip": "tlkit.archives",
    "compare_grid": "tlkit.compare",
    "compare_runs": "tlkit.compare",
    "fetched": "tlkit.mirror",
    "is_url": "tlkit.store_urls",
    "leads_out": "tlkit.picture_folders",
    "list_pictures": "tlkit.picture_folders",
    "load_model": "tlkit.run_folder",
    "load_run": "tlkit.run_folder",
    "open_place": "tlkit.stored_path",
    "picture_data": "tlkit.picture_splits",
    "read_picture": "tlkit.images",
    "restricted_load": "tlkit.restricted_unpickling",
    "run_sweep": "tlkit.sweep",
    "scan_pictures": "tlkit.picture_folders",
    "split_rows": "tlkit.splitting",
    "write_index": "tlkit.report",
    "write_report": "tlkit.report",
}


def __getattr__(name: str) -> Any:
    """Import the names of ``_LAZY`` when they are first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tlkit' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
