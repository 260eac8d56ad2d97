"""Tensors: requests and responses of the Open Inference Protocol, version 2.

The protocol is KServe's and Triton's (github.com/kserve/open-inference-protocol), with two of
Triton's extensions: binary tensor data, which follow the JSON, and classification, which gives an
output as the most probable classes.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydantic_core
from pydantic import ValidationError

from tlkit.records import Float32Array
from tlkit.serve.refusal import Refusal
from tlkit.serve.schemas import InferenceRequest, InputTensor, Parameters, WantedOutput
from tlkit.serve.telling import show, tell_error
from tlkit.text import printable

HEADER = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "classification")
INPUT = "images"
_TYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype(np.uint8), "FP32": np.dtype("<f4")}
_MOST_ERRORS = 3


@dataclass(frozen=True)
class Inference:
    """A request whose tensors are read.

    Attributes:
        request: Its JSON.
        pictures: For each picture its pixels, uint8 or float32 (height, width, 3), or the content
            of its file.
    """

    request: InferenceRequest
    pictures: Sequence[Any]


def read_request(body: bytes, json_bytes: str | None, most: int) -> Inference:
    """Read a request.

    Args:
        body: All of it.
        most: Most pictures.
        json_bytes: The header ``Inference-Header-Content-Length``: how much of it is JSON; all of
            it without.

    Raises:
        Refusal: 400 if it is not of the protocol, or its tensors are no pictures.
    """
    size = len(body)
    if json_bytes is not None:
        if not (json_bytes.isascii() and json_bytes.isdigit() and len(json_bytes) < 19):
            raise _wrong(f"Inference-Header-Content-Length is {json_bytes[:40]!r}: no number")
        size = int(json_bytes)
        if size > len(body):
            raise _wrong(
                f"Inference-Header-Content-Length is {size:,}, and the body has {len(body):,} bytes"
            )
    try:
        request = InferenceRequest.model_validate(
            pydantic_core.from_json(body[:size], allow_inf_nan=False)
        )
    except ValidationError as err:
        raise _wrong(_tell(err)) from err
    except ValueError as err:
        if _has_nan(body[:size]):
            reason = "it has NaN or Infinity, which JSON does not have; pixels are 0 to 255"
            raise _wrong(reason) from err
        raise _wrong(f"it is no JSON: {err}") from err
    (tensor,) = request.inputs
    if tensor.shape[0] > most:
        raise _wrong(f"it has {tensor.shape[0]:,} pictures; allowed are {most:,} at a time")
    rest = memoryview(body)[size:]
    binary = tensor.parameters.get("binary_data_size")
    if binary is None:
        if tensor.data is None:
            raise _wrong(f"the input '{INPUT}' has neither data nor binary_data_size")
        if len(rest):
            raise _wrong(f"{len(rest):,} bytes follow the JSON, and no tensor claims them")
    elif tensor.data is not None:
        raise _wrong(f"the input '{INPUT}' has both data and binary_data_size")
    elif binary is True or binary != len(rest):
        raise _wrong(f"binary_data_size is {binary}, and {len(rest):,} bytes follow the JSON")
    data = rest if tensor.data is None else tensor.data
    if tensor.datatype == "BYTES":
        return Inference(request, _read_files(tensor, data))
    return Inference(request, _read_pixels(tensor, data))


def check_outputs(request: InferenceRequest, classes: int) -> list[WantedOutput]:
    """Return the outputs that are to be given.

    Args:
        request: The request.
        classes: The number of classes.

    Raises:
        Refusal: 400 if their parameters are not allowed.
    """
    both = [WantedOutput(name="probabilities"), WantedOutput(name="class_name")]
    wanted = request.outputs or both
    for item in wanted:
        count = item.parameters.get("classification")
        if count is None:
            continue
        if item.name != "probabilities":
            raise _wrong(f"classification of the output '{item.name}'; allowed: 'probabilities'")
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= classes:
            raise _wrong(f"classification is {count!r}; allowed: 1 to {classes}")
    return wanted


def write_response(
    model: str,
    version: str,
    inference: Inference,
    wanted: Sequence[WantedOutput],
    probabilities: Float32Array,
    class_names: Sequence[str],
) -> tuple[bytes, int | None]:
    """Return the body of a response, and how much of it is JSON if not all of it is.

    Args:
        model: The model's name.
        version: Its version.
        inference: The request.
        wanted: What ``check_outputs()`` returned.
        probabilities: float32 (N, number of classes).
        class_names: In the order of the probabilities.
    """
    request = inference.request
    outputs, tail = [], []
    for item in wanted:
        found = _output(item, probabilities, class_names)
        flat = found.ravel()
        texts = found.dtype == object
        output: dict[str, Any] = {
            "name": item.name,
            "shape": list(found.shape),
            "datatype": "BYTES" if texts else "FP32",
        }
        if _is_binary(item, request.parameters):
            content = _pack(flat) if texts else flat.astype("<f4").tobytes()
            output["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:
            output["data"] = flat.tolist()
        outputs.append(output)
    document: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    echoed = {key: value for key, value in request.parameters.items() if key not in _READ}
    if echoed:
        document["parameters"] = echoed
    document["outputs"] = outputs
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return text + b"".join(tail), len(text) if tail else None


_READ = ("binary_data_output",)


def _output(item: WantedOutput, probabilities: Float32Array, class_names: Sequence[str]) -> Any:
    count = item.parameters.get("classification")
    if item.name == "probabilities" and count is None:
        return probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    if item.name == "class_name":
        return np.array([class_names[row[0]] for row in order], dtype=object)
    rows = [
        [f"{row[index]:f}:{index}:{class_names[index]}" for index in best[:count]]
        for row, best in zip(probabilities, order, strict=True)
    ]
    return np.array(rows, dtype=object)


def _is_binary(item: WantedOutput, parameters: Parameters) -> bool:
    return bool(item.parameters.get("binary_data", parameters.get("binary_data_output", False)))


def _pack(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(item)) + item for item in encoded)


def _read_pixels(tensor: InputTensor, data: Any) -> Any:
    shape, kind = tuple(tensor.shape), _TYPES[tensor.datatype]
    if len(shape) != 4 or shape[3] != 3:
        raise _wrong(
            f"the shape of '{INPUT}' is {list(shape)}; allowed for {tensor.datatype}: "
            f"[number, height, width, 3]"
        )
    if isinstance(data, memoryview):
        if len(data) != math.prod(shape) * kind.itemsize:
            raise _wrong(_does_not_fit(shape, f"{len(data):,} bytes of {tensor.datatype}"))
        pixels = np.frombuffer(data, kind).reshape(shape)
    else:
        pixels = _from_lists(data, shape, tensor.datatype)
    # NaN is in no range.
    if pixels.dtype != np.uint8 and not ((pixels >= 0) & (pixels <= 255)).all():
        raise _wrong(f"'{INPUT}' has values that are not 0 to 255")
    return pixels.astype(np.uint8 if kind == np.uint8 else np.float32, copy=False)


def _from_lists(data: list[Any], shape: tuple[int, ...], datatype: str) -> Any:
    # As objects: an array of texts would give each as much room as the longest of them has.
    values = np.array(data, dtype=object)
    allowed = {int} if datatype == "UINT8" else {int, float}
    if not set(map(type, values.flat)) <= allowed:  # lists where rows have several lengths
        raise _wrong(f"the data of '{INPUT}' is no array of numbers of {datatype}")
    if values.shape != shape and values.shape != (math.prod(shape),):
        raise _wrong(_does_not_fit(shape, f"an array of shape {list(values.shape)}"))
    try:
        numbers = values.astype(np.float64).reshape(shape)
    except OverflowError:
        numbers = np.full(shape, np.inf)
    return numbers


def _read_files(tensor: InputTensor, data: Any) -> list[bytes]:
    count = math.prod(tensor.shape)
    if len(tensor.shape) > 2 or tensor.shape[1:] not in ([], [1]):
        raise _wrong(f"the shape of '{INPUT}' is {tensor.shape}; allowed for BYTES: [number]")
    if isinstance(data, memoryview):
        files = _unpack(data, count)
    else:
        while len(data) == 1 and isinstance(data[0], list):
            (data,) = data
        files = _from_base64(data[: count + 1])
    if len(files) != count:
        many = "more" if len(files) > count else f"{len(files):,}"
        raise _wrong(_does_not_fit(tensor.shape, f"{many} pictures"))
    return files


def _unpack(data: memoryview, most: int) -> list[bytes]:
    """Return the elements; one too many where there are more than ``most``."""
    files: list[bytes] = []
    place = 0
    while place < len(data) and len(files) <= most:
        size = int.from_bytes(data[place : place + 4], "little")
        place += 4
        if place + size > len(data):
            raise _wrong(f"an element of '{INPUT}' has {size:,} bytes, which are not there")
        files.append(bytes(data[place : place + size]))
        place += size
    return files


def _from_base64(data: list[Any]) -> list[bytes]:
    files = []
    for item in data:
        text = item[0] if isinstance(item, list) and len(item) == 1 else item
        try:
            if not isinstance(text, str):
                raise ValueError("it is no text")
            files.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as err:
            raise _wrong(
                f"an element of '{INPUT}' is no picture in base64: {err}. Raw bytes go after the "
                f"JSON, with binary_data_size"
            ) from err
    return files


def _does_not_fit(shape: Sequence[int], received: str) -> str:
    return f"the shape of '{INPUT}' is {list(shape)}, and its data is {received}"


def _tell(err: ValidationError) -> str:
    said: dict[str, str] = {}
    for item in err.errors(include_url=False):
        parts = item["loc"]
        if "parameters" in parts[:-2]:  # one error for each type that a parameter may have
            place = _place(parts[:-1])
            said[place] = f"{place} is {show(item['input'])}; allowed: true, false, number or text"
        else:
            place = _place(parts)
            said[place] = tell_error(item, place)
    more = f"; and {len(said) - _MOST_ERRORS} more" if len(said) > _MOST_ERRORS else ""
    return "; ".join([*said.values()][:_MOST_ERRORS]) + more


def _place(parts: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in parts) or "the body"


def _has_nan(text: bytes) -> bool:
    """Tell whether a text would be JSON if that had NaN and Infinity."""
    try:
        pydantic_core.from_json(text, allow_inf_nan=True)
    except ValueError:
        return False
    return True


def _wrong(reason: str) -> Refusal:
    return Refusal(400, printable(f"Cannot read the inference request: {reason}.", 600))
