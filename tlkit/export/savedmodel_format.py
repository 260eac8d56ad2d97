"""TensorFlow's SavedModel: a folder, as TensorFlow Serving and TensorFlow.js take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from tlkit.export.format import Classify, Format, Precision, Source
from tlkit.export.metadata import FILE
from tlkit.export.tracing import INPUT, OUTPUT


class SavedModel(Format):
    """A folder with the graph and its variables."""

    name: ClassVar[str] = "savedmodel"
    runtime: ClassVar[str] = "tensorflow"

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Write the graph; the metadata goes where TensorFlow keeps what is not its own."""
        import tensorflow as tf

        height, width = source.input_size or (None, None)
        signature = [tf.TensorSpec((None, height, width, 3), tf.uint8, name=INPUT)]

        @tf.function(input_signature=signature, jit_compile=False)  # type: ignore[untyped-decorator]
        def serve(pixels: Any) -> Any:
            return {OUTPUT: source.model(tf.cast(pixels, tf.float32), training=False)}

        # Keras' own ExportArchive would write every weight twice.
        module = tf.Module()
        module.weights = [variable.value for variable in source.model.variables]
        module.serve = serve
        tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
        extra = path / "assets.extra"
        extra.mkdir(exist_ok=True)
        (extra / FILE).write_text(metadata, encoding="ascii")

    def open(self, path: Path) -> Classify:
        """Load the folder with TensorFlow."""
        import tensorflow as tf

        model = tf.saved_model.load(str(path))
        serve = model.signatures["serving_default"]
        # The function would be gone with the object that it came from.
        return lambda pixels, model=model: serve(  # type: ignore[misc]
            pixels=tf.constant(pixels)
        )[OUTPUT].numpy()

    def metadata(self, path: Path) -> str:
        """Read the file in ``assets.extra``."""
        return (path / "assets.extra" / FILE).read_text(encoding="ascii")
