"""ONNX: one file for ONNX Runtime, in C++, C#, Java, JavaScript, Python, Rust and others."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tlkit.errors import ExportError
from tlkit.export.format import PRECISIONS, Classify, Format, Precision, Source
from tlkit.export.matrix_resizing import SCOPE
from tlkit.export.metadata import KEY
from tlkit.export.tracing import INPUT, OUTPUT

# The newest that tf2onnx writes.
OPSET = 18
_SMALL = 1024


class Onnx(Format):
    """Made by tf2onnx, quantised by ONNX Runtime."""

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[Precision, ...]] = PRECISIONS
    modules: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "tf2onnx")
    install: ClassVar[str] = "'tlkit[onnx]'"
    runtime: ClassVar[str] = "onnxruntime"

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Convert the graph, make the weights smaller if asked, and add the metadata."""
        import onnx

        try:
            network = _convert(source)
            onnx.checker.check_model(network)
        except (
            Exception
        ) as err:  # tf2onnx raises what it likes, and leaves in what it does not know
            raise ExportError(f"ONNX cannot hold this model: {err}") from err
        if precision == "float16":
            _halve_weights(network)
        elif precision == "int8":
            network = _quantise(network, source)
        network.producer_name = "tlkit"
        entry = network.metadata_props.add()
        entry.key, entry.value = KEY, metadata
        onnx.save(network, path)

    def open(self, path: Path) -> Classify:
        """Load the file with ONNX Runtime."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run([OUTPUT], {INPUT: pixels})[0]

    def metadata(self, path: Path) -> str:
        """Read the property of the model."""
        import onnx

        found = onnx.load(path, load_external_data=False).metadata_props
        return next(str(item.value) for item in found if item.key == KEY)


def _convert(source: Source) -> Any:
    import tf2onnx

    definition = _without_erfc(source.graph.definition)
    with _quiet():
        network, _ = tf2onnx.convert.from_graph_def(
            definition,
            name="tlkit",
            input_names=[f"{INPUT}:0"],
            output_names=[f"{OUTPUT}:0"],
            opset=OPSET,
        )
    graph = network.graph
    for value in (*graph.input, *graph.output):
        value.name = value.name.removesuffix(":0")
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if not size.dim_value:
                size.dim_param = ("N", "height", "width")[place]
    ends = {f"{INPUT}:0": INPUT, f"{OUTPUT}:0": OUTPUT}
    for node in graph.node:
        node.input[:] = [ends.get(name, name) for name in node.input]
        node.output[:] = [ends.get(name, name) for name in node.output]
    return network


def _without_erfc(definition: Any) -> Any:
    """Return a graph in which 1 - erf(x) stands for erfc(x), which ONNX does not have.

    Keras' exact GELU is written with it.
    """
    changed = type(definition)()
    changed.CopyFrom(definition)
    for node in [item for item in changed.node if item.op == "Erfc"]:
        one = changed.node.add(op="Const", name=f"{node.name}/one")
        one.attr["dtype"].type = node.attr["T"].type
        one.attr["value"].tensor.dtype = node.attr["T"].type
        one.attr["value"].tensor.tensor_shape.SetInParent()
        one.attr["value"].tensor.float_val.append(1.0)
        erf = changed.node.add(op="Erf", name=f"{node.name}/erf", input=list(node.input))
        erf.attr["T"].type = node.attr["T"].type
        node.op = "Sub"
        node.input[:] = [one.name, erf.name]
    return changed


def _halve_weights(network: Any) -> None:
    """Keep weights as float16; the runtime widens them once, when it loads the file.

    Arithmetic in float16 is slower than float32 on most CPUs, and ONNX Runtime has few kernels
    for it there.
    """
    from onnx import helper, numpy_helper

    graph = network.graph
    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        most = np.finfo(np.float16).max
        narrow = np.clip(values, -most, most).astype(np.float16)
        name, stored = weight.name, f"{weight.name}_float16"
        weight.CopyFrom(numpy_helper.from_array(narrow, stored))
        casts.append(helper.make_node("Cast", [stored], [name], f"{name}_widen", to=1))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _quantise(network: Any, source: Source) -> Any:
    """Quantise weights and activations to 8 bits; their ranges are those of the pictures."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.pictures = iter(source.pictures)

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self.pictures, None)
            return None if picture is None else {INPUT: picture[None]}

    kept = [
        node.name
        for node in network.graph.node
        if SCOPE in node.name or node.op_type in ("Softmax", "Cast")
    ]
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            network,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Of the kinds that ONNX Runtime has, the one whose sums no processor cuts off; with
            # unsigned activations its build for JavaScript gave other classes.
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=kept,
        )
        return onnx.load(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what is no advice for whoever exports a model; a failure is told by its error."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
