"""The Open Inference Protocol: what KServe and Triton clients send, and what they get."""

import base64
import json
import math
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.conftest import encode
from tests.tiny import CLASS_NAMES
from tlkit.serve import tensors
from tlkit.serve.refusal import Refusal

INFER = "/v2/models/tiny/infer"


def tensor(shape, datatype="UINT8", **rest):
    return {"name": "images", "shape": list(shape), "datatype": datatype, **rest}


def infer(served, document, tail=b"", path=INFER):
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if tail else {}
    status, headers, body = served.call("POST", path, text + tail, headers)
    size = headers.get("inference-header-content-length")
    if size is None:
        return status, json.loads(body), b""
    return status, json.loads(body[: int(size)]), body[int(size) :]


def output(answer, name):
    (found,) = (item for item in answer["outputs"] if item["name"] == name)
    return found


def test_what_is_served(served):
    assert served.get("/v2")[1]["extensions"] == ["binary_tensor_data", "classification"]
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        status, found = served.get(path)
        assert status == 200
        assert found["inputs"] == [
            {"name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}
        ]
        assert found["outputs"][0]["shape"] == [-1, 3]
        assert found["parameters"]["class_names"] == list(CLASS_NAMES)
        assert served.get(f"{path}/ready") == (200, {"name": "tiny", "ready": True})
    assert served.get("/v2/health/live") == (200, {"live": True})
    assert served.get("/v2/health/ready") == (200, {"live": True, "ready": True})


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/tiny/versions/2", "/v2/models/other/ready", "/x"]
)
def test_what_is_not_there(served, path):
    status, found = served.get(path)
    assert status == 404
    assert set(found) == {"error"}


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_pixels_as_json(served, images, expected, nested, datatype):
    data = images.tolist() if nested else images.ravel().tolist()
    document = {"id": "42", "parameters": {"own": 1.5}, "inputs": [tensor(images.shape, datatype)]}
    document["inputs"][0]["data"] = data
    status, answer, _ = infer(served, document, path="/v2/models/tiny/versions/1/infer")
    assert status == 200
    assert answer["id"] == "42"
    assert answer["parameters"] == {"own": 1.5}
    assert (answer["model_name"], answer["model_version"]) == ("tiny", "1")
    found = output(answer, "probabilities")
    assert (found["datatype"], found["shape"]) == ("FP32", [9, 3])
    np.testing.assert_allclose(np.reshape(found["data"], (9, 3)), expected, atol=1e-5)
    names = output(answer, "class_name")
    assert names["data"] == [CLASS_NAMES[index] for index in expected.argmax(axis=1)]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_pixels_and_outputs_as_bytes(served, images, expected, datatype):
    content = images.astype({"UINT8": np.uint8, "FP32": "<f4"}[datatype]).tobytes()
    item = tensor(images.shape, datatype, parameters={"binary_data_size": len(content)})
    document = {
        "inputs": [item],
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": "class_name"},
            {"name": "probabilities"},
            {"name": "probabilities", "parameters": {"classification": 2, "binary_data": False}},
        ],
    }
    status, answer, tail = infer(served, document, content)
    assert status == 200
    assert "parameters" not in answer
    names, numbers, best = answer["outputs"]
    size = names["parameters"]["binary_data_size"]
    assert numbers["parameters"]["binary_data_size"] == len(tail) - size == 9 * 3 * 4
    found = np.frombuffer(tail[size:], "<f4").reshape(9, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert unpack(tail[:size]) == [CLASS_NAMES[index] for index in expected.argmax(axis=1)]
    assert (best["shape"], best["datatype"]) == ([9, 2], "BYTES")
    share, index, name = best["data"][0].split(":")
    assert name == CLASS_NAMES[int(index)]
    assert float(share) == pytest.approx(float(expected[0].max()), abs=1e-5)


def unpack(data):
    texts = []
    while data:
        (size,) = struct.unpack("<I", data[:4])
        texts.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return texts


@pytest.mark.parametrize("binary", [True, False])
def test_encoded_pictures_of_any_size(served, images, expected, binary):
    files = [encode(images[0]), encode(images[1].repeat(2, axis=0).repeat(2, axis=1))]
    if binary:
        tail = b"".join(struct.pack("<I", len(item)) + item for item in files)
        item = tensor([2], "BYTES", parameters={"binary_data_size": len(tail)})
    else:
        tail = b""
        item = tensor([2, 1], "BYTES", data=[[base64.b64encode(one).decode()] for one in files])
    status, answer, _ = infer(
        served, {"inputs": [item], "outputs": [{"name": "probabilities"}]}, tail
    )
    assert status == 200
    assert [found["name"] for found in answer["outputs"]] == ["probabilities"]
    found = np.reshape(output(answer, "probabilities")["data"], (2, 3))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


ONE = [[[[1, 2, 3]]]]
WRONG = {
    "no JSON": b"{",
    "deeply nested": b"[" * 100_000,
    "not an object": b"[]",
    "NaN": b'{"inputs": [{"name": "images", "shape": [1,1,1,3], "datatype": "FP32", "data": NaN}]}',
    "no inputs": {"inputs": []},
    "two inputs": {"inputs": [tensor([1, 1, 1, 3], data=ONE)] * 2},
    "another name": {"inputs": [{**tensor([1, 1, 1, 3], data=ONE), "name": "x"}]},
    "another type": {"inputs": [tensor([1, 1, 1, 3], "INT64", data=ONE)]},
    "no data": {"inputs": [tensor([1, 1, 1, 3])]},
    "too little data": {"inputs": [tensor([1, 1, 2, 3], data=ONE)]},
    "another shape": {"inputs": [tensor([1, 3, 1, 1], data=ONE)]},
    "one picture without number": {"inputs": [tensor([1, 1, 3], data=[1, 2, 3])]},
    "a shape of zero": {"inputs": [tensor([0, 1, 1, 3], data=[])]},
    "a huge shape": {"inputs": [tensor([2**31] * 3 + [3], data=ONE)]},
    "a shape that is too huge": {"inputs": [tensor([10**30, 1, 1, 3], data=ONE)]},
    "ragged": {"inputs": [tensor([1, 1, 2, 3], data=[[[[1, 2, 3], [4]]]])]},
    "above 255": {"inputs": [tensor([1, 1, 1, 3], data=[1, 2, 256])]},
    "below 0": {"inputs": [tensor([1, 1, 1, 3], "FP32", data=[1, 2, -0.5])]},
    "broken numbers": {"inputs": [tensor([1, 1, 1, 3], data=[1, 2, 0.5])]},
    "text": {"inputs": [tensor([1, 1, 1, 3], data=["1", "2", "3"])]},
    "texts of unlike lengths": {
        "inputs": [tensor([1, 1, 1, 3], data=["x" * 100_000] + [""] * 100_000)]
    },
    "numbers beyond floats": {"inputs": [tensor([1, 1, 1, 3], "FP32", data=[10**400, 1, 1])]},
    "nothing": {"inputs": [tensor([1, 1, 1, 3], "FP32", data=[None, 1, 1])]},
    "truth": {"inputs": [tensor([1, 1, 1, 3], data=[True, True, True])]},
    "numbers beyond 64 bits": {"inputs": [tensor([1, 1, 1, 3], data=[10**30, 1, 1])]},
    "no picture": {"inputs": [tensor([1], "BYTES", data=["AAAA"])]},
    "no base64": {"inputs": [tensor([1], "BYTES", data=["*"])]},
    "no text": {"inputs": [tensor([1], "BYTES", data=[1])]},
    "fewer pictures": {"inputs": [tensor([2], "BYTES", data=["AAAA"])]},
    "more pictures than the shape says": {"inputs": [tensor([1], "BYTES", data=["AAAA"] * 3)]},
    "another output": {
        "inputs": [tensor([1, 1, 1, 3], data=ONE)],
        "outputs": [{"name": "x"}],
    },
    "too many classes": {
        "inputs": [tensor([1, 1, 1, 3], data=ONE)],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 4}}],
    },
    "more pictures than there is room for": {
        "inputs": [tensor([257, 1, 1, 3], data=[0] * 771)],
    },
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told(served, what):
    body = WRONG[what] if isinstance(WRONG[what], bytes) else json.dumps(WRONG[what])
    status, answer = served.post(INFER, body)
    assert status == 400, answer
    assert set(answer) == {"error"}
    assert 20 < len(answer["error"]) <= 700
    assert served.service._batcher.taken == 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
GOOD = tensor([1, 1, 1, 3], data=ONE)
PLAIN = {
    "[]": "the body is a list; allowed: an object",
    '{"inputs": [1]}': "inputs.0 is 1; allowed: an object",
    '{"inputs": {}, "id": 5}': "id is 5; allowed: a text; inputs is an object; allowed: a list",
    "{}": "inputs is missing",
    '{"inputs": []}': "inputs has 0 elements; allowed: at least 1",
    json.dumps({"inputs": [GOOD, GOOD]}): "inputs has 2 elements; allowed: at most 1",
    json.dumps({"inputs": [{**GOOD, "datatype": "INT64"}]}): "inputs.0.datatype is 'INT64'; "
    "allowed: 'UINT8', 'FP32' or 'BYTES'",
    json.dumps({"inputs": [{**GOOD, "shape": [0, 1.5, "x" * 99, 3]}]}): "inputs.0.shape.0 is 0; "
    "allowed: 1 or more; inputs.0.shape.1 is 1.5; allowed: a whole number; inputs.0.shape.2 is "
    f"'{'x' * 40}'...; allowed: a whole number",
    json.dumps({"inputs": [GOOD], "parameters": {"a": None}}): "parameters.a is null; allowed: "
    "true, false, number or text",
    json.dumps({"inputs": [{**GOOD, "data": [math.nan, 1, 2]}]}): "it has NaN or Infinity, which "
    "JSON does not have; pixels are 0 to 255",
    json.dumps({"inputs": [{**GOOD, "data": [-math.inf, 1, 2]}]}): "it has NaN or Infinity, which "
    "JSON does not have; pixels are 0 to 255",
    '{"NaN": "NaN"': "it is no JSON: EOF while parsing an object at line 1 column 13",
}


@pytest.mark.parametrize("body", PLAIN)
def test_what_is_wrong_is_told_in_plain_words(body):
    with pytest.raises(Refusal) as caught:
        tensors.read_request(body.encode(), None, 256)
    assert caught.value.message == f"Cannot read the inference request: {PLAIN[body]}."


@given(VALUES)
def test_any_json_is_refused_without_words_of_the_library(document):
    with pytest.raises(Refusal) as caught:
        tensors.read_request(json.dumps({"inputs": document}).encode(), None, 256)
    assert not re.search("valid|instance|Input should", caught.value.message)


@pytest.mark.parametrize(
    ("header", "size", "tail"),
    [
        ("x", 3, b"123"),
        ("-1", 3, b"123"),
        ("99999", 3, b"123"),
        (None, 3, b"1234"),
        (None, 2, b"123"),
        (None, True, b"1"),
        (None, "3", b"123"),
    ],
)
def test_binary_data_that_does_not_fit(served, header, size, tail):
    document = {"inputs": [tensor([1, 1, 1, 3], parameters={"binary_data_size": size})]}
    text = json.dumps(document).encode()
    header = str(len(text)) if header is None else header
    status, _ = served.post(INFER, text + tail, **{"Inference-Header-Content-Length": header})
    assert status == 400


@given(st.binary(max_size=200), st.none() | st.text(max_size=5))
def test_any_bytes_are_a_request_or_a_refusal(body, header):
    with pytest.raises(Refusal) as caught:
        tensors.read_request(body, header, 256)
    assert caught.value.status == 400


@given(
    VALUES,
    st.lists(st.integers(-1, 4), max_size=5),
    st.sampled_from(["UINT8", "FP32", "BYTES"]),
)
def test_any_data_are_pictures_or_a_refusal(data, shape, datatype):
    document = json.dumps({"inputs": [tensor(shape, datatype, data=data)]})
    try:
        found = tensors.read_request(document.encode(), None, 256)
    except Refusal as err:
        assert err.status == 400
    else:
        assert len(found.pictures) == shape[0]
