"""Keras' own two formats: .keras and .h5."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar

from tlkit.errors import ExportError
from tlkit.export.format import Classify, Format, Precision, Source
from tlkit.export.metadata import KEY
from tlkit.model import fits_h5
from tlkit.model_file import load_model_file
from tlkit.run_folder import write_model

_METADATA = "metadata.json"


class _KerasModel(Format):
    runtime: ClassVar[str] = "keras"
    fixes_size: ClassVar[bool] = False

    def open(self, path: Path) -> Classify:
        """Load the model with Keras on TensorFlow."""
        from tlkit.runtime import require_tensorflow_backend

        require_tensorflow_backend()
        import tensorflow as tf

        model = load_model_file(path)
        signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]

        @tf.function(jit_compile=False, input_signature=signature)  # type: ignore[untyped-decorator]
        def classify(pixels: Any) -> Any:
            return model(pixels, training=False)

        return lambda pixels: classify(tf.constant(pixels)).numpy()


class Keras(_KerasModel):
    """Keras 3's zip archive."""

    name: ClassVar[str] = "keras"
    suffix: ClassVar[str] = ".keras"

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Save the model, with one more key in the archive's ``metadata.json``.

        A further member would be refused by ``tlkit.model_file`` as one that Keras does not write.
        """
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / f"saved{self.suffix}"
            write_model(source.model, saved)
            with zipfile.ZipFile(saved) as before, zipfile.ZipFile(path, "w") as after:
                for item in before.infolist():
                    content = before.read(item)
                    if item.filename == _METADATA:
                        content = json.dumps(
                            {**json.loads(content), KEY: json.loads(metadata)}
                        ).encode()
                    after.writestr(item, content)

    def metadata(self, path: Path) -> str:
        """Read the key of ``metadata.json``."""
        with zipfile.ZipFile(path) as archive:
            return json.dumps(json.loads(archive.read(_METADATA))[KEY])


class H5(_KerasModel):
    """The HDF5 file that older programs read."""

    name: ClassVar[str] = "h5"
    suffix: ClassVar[str] = ".h5"

    def write(self, source: Source, path: Path, precision: Precision, metadata: str) -> None:
        """Save the model, with one more attribute."""
        import h5py

        if not fits_h5(source.model):
            raise ExportError(
                "This model does not fit the .h5 format: Keras could not read it back. Export it "
                "with --to keras."
            )
        write_model(source.model, path)
        with h5py.File(path, "r+") as file:
            file.attrs[KEY] = metadata

    def metadata(self, path: Path) -> str:
        """Read the attribute."""
        import h5py

        with h5py.File(path) as file:
            return str(file.attrs[KEY])
