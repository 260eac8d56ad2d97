"""/predict and /explain: pictures as people send them."""

import base64
import io
import threading

import numpy as np
import pytest
from PIL import Image

from tests.serve.conftest import encode
from tests.tiny import CLASS_NAMES, Colours, TinyBackbone
from tlkit import Trainer
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain

BOUNDARY = "limit"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(*files):
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def test_a_plain_body(served, images, expected):
    status, found = served.post("/predict", encode(images[4]))
    assert status == 200
    assert found["model"] == "tiny"
    (answer,) = found["predictions"]
    order = np.argsort(-expected[4])
    assert answer["classes"] == [CLASS_NAMES[index] for index in order]
    np.testing.assert_allclose(answer["confidences"], expected[4][order], atol=1e-5)


def test_a_form_with_files(served, images, expected):
    body = form(*((f"{n}\x1b.png", encode(image)) for n, image in enumerate(images)))
    status, found = served.post("/predict?top=1", body, **FORM)
    assert status == 200
    answers = found["predictions"]
    assert [item["name"] for item in answers] == [f"{n}\\x1b.png" for n in range(9)]
    best = [CLASS_NAMES[index] for index in expected.argmax(axis=1)]
    assert [item["classes"] for item in answers] == [[name] for name in best]


def test_many_callers_get_their_own_answers(served, images, expected):
    before = served.metric("tlkit_batch_pictures_count")
    problems = []

    def caller(number):
        for turn in range(8):
            index = (number + turn) % len(images)
            status, found = served.post("/predict?top=3", encode(images[index]))
            answer = dict(zip(*list(found["predictions"][0].values())[1:], strict=True))
            rows = [answer[name] for name in CLASS_NAMES]
            if status != 200 or not np.allclose(rows, expected[index], atol=1e-5):
                problems.append((number, turn))

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert 0 < served.metric("tlkit_batch_pictures_count") - before <= 96


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/predict", b"", {}),
        ("/predict", b"no picture", {}),
        ("/predict?top=0", b"x", {}),
        ("/predict?top=4", b"x", {}),
        ("/predict", form(), FORM),
        ("/predict", form(("a.png", b"")), FORM),
        ("/predict", b"no form", FORM),
        ("/predict", b"x", {"Content-Type": "multipart/form-data"}),
        ("/explain", b"no picture", {}),
    ],
)
def test_what_is_no_picture_is_told(served, path, body, headers):
    status, found = served.post(path, body, **headers)
    assert status == 400
    assert set(found) == {"error"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/predict?tpo=2", "no query parameter 'tpo'. Did you mean 'top'? Allowed: top."),
        ("/predict?class=red", "no query parameter 'class'. Allowed: top."),
        ("/explain?top=2&x%1b=2", r"no query parameter 'x\x1b'. Allowed: class, top."),
        ("/predict?top=0", "top is '0'; allowed: 1 or more."),
        ("/predict?top=4", "top is '4'; allowed: 3 or less."),
        ("/predict?top=x", "top is 'x'; allowed: a whole number."),
    ],
)
def test_parameters_that_are_not_allowed(served, images, path, text):
    status, found = served.post(path, encode(images[0]))
    assert status == 400
    assert found["error"].endswith(text)


def test_one_broken_file_is_named(served, images):
    body = form(("good.png", encode(images[0])), ("bad.png", b"x"))
    status, found = served.post("/predict", body, **FORM)
    assert status == 400
    assert "bad.png" in found["error"]


def test_the_limit_on_pixels_holds_here_too(served, monkeypatch):
    monkeypatch.setenv("TLKIT_MAX_PIXELS", "100")
    status, found = served.post("/predict", encode(np.zeros((11, 10, 3), np.uint8)))
    assert status == 400
    assert "10 x 11 pixels" in found["error"]


def test_an_explanation_is_a_picture_to_lay_over(served, images, expected):
    status, found = served.post("/explain", encode(images[0]))
    assert status == 200
    best = CLASS_NAMES[int(expected[0].argmax())]
    assert found["explained"] == found["classes"][0] == best
    heat = Image.open(io.BytesIO(base64.b64decode(found["heat"])))
    assert (heat.size, heat.mode) == ((16, 16), "RGBA")
    assert found["reason"] is None


def test_maps_of_one_place_are_no_explanation(serve, images, classifier, monkeypatch):
    run = Trainer(TinyBackbone(4), "linear", Colours(), FreezeAndTrain(1), [], runs=None).run()
    monkeypatch.setattr(classifier, "model", run.model)
    status, found = serve().post("/explain", encode(images[0]))
    assert (status, found["heat"]) == (200, None)
    assert "1 x 1 places" in found["reason"]
    assert len(found["classes"]) == 3


def test_another_class_can_be_explained(served, images):
    body = encode(images[0])
    found = {name: served.post(f"/explain?class={name}", body)[1] for name in CLASS_NAMES}
    assert [item["explained"] for item in found.values()] == list(CLASS_NAMES)
    assert len({item["heat"] for item in found.values()}) > 1
    status, answer = served.post("/explain?class=mauve", body)
    assert status == 400
    assert "mauve" in answer["error"]


def test_two_pictures_are_not_explained_at_once(served, images):
    body = form(("a.png", encode(images[0])), ("b.png", encode(images[1])))
    assert served.post("/explain", body, **FORM)[0] == 400
