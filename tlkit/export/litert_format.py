"""LiteRT, which was TensorFlow Lite: one .tflite file for phones and small computers."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tlkit.errors import ExportError
from tlkit.export.format import PRECISIONS, Classify, Format, Precision, Source
from tlkit.export.matrix_resizing import SCOPE
from tlkit.export.metadata import FILE
from tlkit.runtime import held_back_stderr, number_of_cores


class LiteRT(Format):
    """Made and quantised by TensorFlow's converter, run by ai-edge-litert."""

    name: ClassVar[str] = "litert"
    suffix: ClassVar[str] = ".tflite"
    precisions: ClassVar[tuple[Precision, ...]] = PRECISIONS
    modules: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)
    install: ClassVar[str] = "'tlkit[litert]'"
    runtime: ClassVar[str] = "ai-edge-litert"

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Convert the graph; the metadata is an associated file, as TensorFlow Lite calls it.

        That is a zip archive behind the model, which runtimes do not look at.
        """
        try:
            with _quiet():
                content = _convert(source, precision)
        except Exception as err:  # what the converter raises is no public class
            raise ExportError(f"LiteRT cannot hold this model: {err}") from err
        path.write_bytes(content)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(FILE, metadata)

    def open(self, path: Path) -> Classify:
        """Load the file with LiteRT, which is told the shape of each batch."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=number_of_cores())
        pixels_at = interpreter.get_input_details()[0]["index"]
        answer_at = interpreter.get_output_details()[0]["index"]
        shape = None

        def classify(pixels: Any) -> Any:
            nonlocal shape
            if pixels.shape != shape:
                interpreter.resize_tensor_input(pixels_at, pixels.shape)
                interpreter.allocate_tensors()
                shape = pixels.shape
            interpreter.set_tensor(pixels_at, pixels)
            interpreter.invoke()
            return interpreter.get_tensor(answer_at)

        return classify

    def metadata(self, path: Path) -> str:
        """Read the file in the archive."""
        with zipfile.ZipFile(path) as archive:
            return archive.read(FILE).decode("ascii")


def _convert(source: Source, precision: Precision) -> bytes:
    import tensorflow as tf

    converter = _converter(source)
    if precision == "float32":
        return bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
        return bytes(converter.convert())
    # The converter's own second step, which is the one that can leave operations out.
    from tensorflow.lite.python.convert import mlir_quantize

    converter.representative_dataset = lambda: ([picture[None]] for picture in source.pictures)
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    return bytes(mlir_quantize(calibrated, denylisted_nodes=_names_of_resizing(calibrated)))


def _converter(source: Source) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_concrete_functions([source.graph.function], source.model)


def _names_of_resizing(content: bytes) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=content).get_tensor_details()
    return [str(item["name"]) for item in details if SCOPE in item["name"]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the converter writes of its own steps."""
    with held_back_stderr(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        yield
