"""OpenVINO's intermediate representation: a folder with model.xml and model.bin."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from tlkit.errors import ExportError
from tlkit.export.format import PRECISIONS, Classify, Format, Precision, Source
from tlkit.export.matrix_resizing import SCOPE
from tlkit.export.metadata import KEY
from tlkit.export.tracing import INPUT, OUTPUT

_MODEL = "model.xml"


class OpenVino(Format):
    """Read from the TensorFlow graph by OpenVINO, quantised by NNCF."""

    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[Precision, ...]] = PRECISIONS
    modules: ClassVar[tuple[str, ...]] = ("openvino",)
    install: ClassVar[str] = "'tlkit[openvino]'"
    runtime: ClassVar[str] = "openvino"

    def check(self, precision: Precision, input_size: tuple[int, int] | None) -> None:
        """Check also for what quantising needs."""
        super().check(precision, input_size)
        if precision == "int8" and find_spec("nncf") is None:
            raise ExportError(
                "The format 'openvino' needs nncf for int8, not installed. "
                "pip install 'tlkit[openvino-int8]'"
            )

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Convert the graph, make the weights smaller if asked, and add the metadata."""
        import openvino

        # OpenVINO's converter for Python objects would report its use over the network.
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / "graph.pb"
            graph.write_bytes(source.graph.definition.SerializeToString())
            try:
                network = openvino.Core().read_model(graph)
            except RuntimeError as err:
                raise ExportError(f"OpenVINO cannot read this model: {err}") from err
            network.inputs[0].get_tensor().set_names({INPUT})
            network.outputs[0].get_tensor().set_names({OUTPUT})
            if precision == "int8":
                network = _quantise(network, source)
            network.set_rt_info(metadata, [KEY])
            openvino.save_model(network, path / _MODEL, compress_to_fp16=precision == "float16")

    def open(self, path: Path) -> Classify:
        """Load the folder with OpenVINO."""
        import openvino

        # Without this, processors with bfloat16 would use it.
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.compile_model(path / _MODEL, "CPU", settings)
        return lambda pixels: compiled(pixels)[0].copy()

    def metadata(self, path: Path) -> str:
        """Read the runtime information of the model."""
        import openvino

        return str(openvino.Core().read_model(path / _MODEL).get_rt_info(KEY).astype(str))


def _quantise(network: Any, source: Source) -> Any:
    """Quantise weights and activations to 8 bits; their ranges are those of the pictures."""
    # NNCF would report its use over the network, and draws its progress on standard output.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level("ERROR")
    pictures = nncf.Dataset([picture[None] for picture in source.pictures])
    # NNCF's own range is the mean of the pictures' extremes, which cuts off what stands out: a
    # network of the tests lost all answers of a class by it.
    ranges = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            network,
            pictures,
            subset_size=len(source.pictures),
            ignored_scope=nncf.IgnoredScope(patterns=[f".*{SCOPE}.*"], validate=False),
            advanced_parameters=ranges,
        )
