"""Every format gives the Keras model's answers, whatever the size of the pictures."""

import json

import keras
import numpy as np
import pytest

from tests.export.conftest import SIZES, answers, pictures
from tests.test_hostile_names import CLASSES
from tlkit import ConfigError, ExportError
from tlkit.export import litert_format, openvino_format
from tlkit.export.format import PRECISIONS, Format, Source
from tlkit.export.formats import FORMATS, format_of
from tlkit.export.metadata import as_text

CONVERTED = ("onnx", "litert", "openvino")
SURROGATE = "not UTF-8: \udce9"


def write(folder, name, source, precision="float32", metadata="{}"):
    fmt = format_of(name)
    pytest.importorskip("tensorflow")
    try:
        fmt.check(precision, source.input_size)
    except ExportError as err:
        pytest.skip(str(err))
    path = folder / fmt.file_name(precision)
    if not fmt.suffix:
        path.mkdir()
    fmt.write(source, path, precision, metadata)
    return fmt, path


@pytest.mark.parametrize("name", FORMATS)
def test_it_equals_keras_and_keeps_what_it_is_told(name, model, source, tmp_path):
    metadata = as_text({"class_names": [*CLASSES, SURROGATE, "x" * 70_000]})
    fmt, path = write(tmp_path, name, source, metadata=metadata)
    classify = fmt.open(path)
    for size in SIZES:
        pixels = pictures(size)
        expected = answers(model, pixels)
        assert np.ptp(expected, axis=0).max() > 0.01
        found = classify(pixels)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-5)
        np.testing.assert_allclose(classify(pixels[:1]), expected[:1], atol=2e-5)
    assert json.loads(fmt.metadata(path)) == json.loads(metadata)
    assert fmt.runtime_version().split()[1][0].isdigit()


@pytest.mark.parametrize("name", ["savedmodel", *CONVERTED])
def test_views_of_a_picture_are_in_the_file(name, augmented, tmp_path):
    fmt, path = write(tmp_path, name, Source(augmented))
    pixels = pictures((23, 31))
    np.testing.assert_allclose(fmt.open(path)(pixels), answers(augmented, pixels), atol=2e-5)


@pytest.mark.parametrize("name", CONVERTED)
def test_float16_is_half_as_large_and_near(name, model, source, tmp_path):
    fmt, path = write(tmp_path, name, source, "float16", '{"a": 1}')
    pixels = pictures((24, 20), 20, 2)
    difference = np.abs(fmt.open(path)(pixels) - answers(model, pixels)).max()
    assert 0 < difference < 0.02
    assert fmt.metadata(path) == '{"a": 1}'


@pytest.mark.parametrize("name", CONVERTED)
def test_int8_is_near_on_pictures_like_those_it_was_fitted_on(name, model, source, tmp_path):
    fmt, path = write(tmp_path, name, source, "int8", '{"a": 1}')
    pixels = pictures((24, 20), 40, 2)
    found, expected = fmt.open(path)(pixels), answers(model, pixels)
    difference = np.abs(found - expected)
    assert 1e-4 < difference.max() < 0.25
    ordered = np.sort(expected, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > 0.2
    assert sure.sum() >= 3
    np.testing.assert_array_equal(found.argmax(1)[sure], expected.argmax(1)[sure])
    assert fmt.metadata(path) == '{"a": 1}'


@pytest.mark.parametrize("name", ["savedmodel", *CONVERTED])
def test_the_size_of_pictures_can_be_fixed(name, model, tmp_path):
    fmt, path = write(tmp_path, name, Source(model, (20, 12)))
    classify = fmt.open(path)
    pixels = pictures((20, 12))
    np.testing.assert_allclose(classify(pixels), answers(model, pixels), atol=2e-5)


def test_an_onnx_file_names_its_ends(source, tmp_path):
    import onnx

    _, path = write(tmp_path, "onnx", source)
    graph = onnx.load(path).graph
    (pixels,), (answer,) = graph.input, graph.output
    assert (pixels.name, answer.name) == ("pixels", "probabilities")
    shape = [item.dim_param or item.dim_value for item in pixels.type.tensor_type.shape.dim]
    assert shape == ["N", "height", "width", 3]
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_the_exported_keras_file_passes_the_check_of_model_files(source, tmp_path):
    from tlkit.model_file import check_model_file

    for name in ("keras", "h5"):
        _, path = write(tmp_path, name, source)
        check_model_file(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_that_a_format_lacks_is_refused(name, precision):
    fmt = format_of(name)
    if precision in fmt.precisions:
        return
    with pytest.raises(ExportError, match=f"'{name}' has no {precision}; allowed: float32"):
        fmt.check(precision, None)


def test_an_unknown_format_is_refused():
    with pytest.raises(ConfigError, match=r"'onx'. Did you mean 'onnx'\?\nAvailable: keras, h5"):
        format_of("onx")


@pytest.mark.parametrize("name", CONVERTED)
def test_what_is_not_installed_is_said_with_the_command(name, monkeypatch):
    monkeypatch.setattr("tlkit.export.format.find_spec", lambda module: None)
    with pytest.raises(ExportError, match=rf"pip install 'tlkit\[{name}\]'"):
        format_of(name).check("float32", None)


def test_int8_of_openvino_needs_nncf(monkeypatch):
    monkeypatch.setattr(openvino_format, "find_spec", lambda module: None)
    with pytest.raises(ExportError, match=r"pip install 'tlkit\[openvino-int8\]'"):
        format_of("openvino").check("int8", None)
    format_of("openvino").check("float16", None)


def test_a_size_is_no_business_of_keras():
    with pytest.raises(ExportError, match="leave --input-size out"):
        format_of("keras").check("float32", (32, 32))


def test_a_model_that_litert_cannot_hold_is_one_error(source, tmp_path, monkeypatch):
    def fails(*args):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(litert_format, "_convert", fails)
    with pytest.raises(ExportError, match="LiteRT cannot hold this model: no such operation"):
        write(tmp_path, "litert", source)


def test_a_model_that_onnx_cannot_hold_is_one_error(tmp_path):
    inputs = keras.Input((None, None, 3), name="pixels")
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.ops.erfinv(pooled))
    with pytest.raises(ExportError, match=r"ONNX cannot hold this model: .*Erfinv"):
        write(tmp_path, "onnx", Source(model))


@pytest.mark.parametrize("name", CONVERTED)
def test_convolutions_in_groups_and_the_exact_gelu(name, tmp_path):
    inputs = keras.Input((None, None, 3), name="pixels")
    x = keras.layers.Resizing(16, 16, antialias=True)(inputs)
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.Conv2D(6, 3, groups=3, activation="gelu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    fmt, path = write(tmp_path, name, Source(model))
    pixels = pictures((23, 31))
    np.testing.assert_allclose(fmt.open(path)(pixels), answers(model, pixels), atol=1e-5)


def test_a_model_that_h5_cannot_hold_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tlkit.export.keras_format.fits_h5", lambda model: False)
    with pytest.raises(ExportError, match="--to keras"):
        write(tmp_path, "h5", source)


def test_each_format_says_what_it_is():
    for name in FORMATS:
        fmt = format_of(name)
        assert isinstance(fmt, Format)
        assert fmt.name == name
        assert len({fmt.file_name(precision) for precision in PRECISIONS}) == 3
