import copy
import json
import multiprocessing

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.test_extraction import Mixed
from tests.test_model import OwnConfig
from tests.tiny import TinyBackbone, make_images
from tlkit import fingerprint
from tlkit.builtin.heads.linear import Linear
from tlkit.model import assemble


def _digest(backbone, head=None, seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    head = head or Linear()
    return fingerprint.digest_model(assemble(backbone, head, 3), backbone, head)


def test_the_fingerprint_depends_on_everything_that_features_depend_on():
    class OtherInterpolation(TinyBackbone):
        interpolation = "nearest"

    class OtherPreprocess(TinyBackbone):
        def preprocess(self, images):
            return super().preprocess(images) * 2

    for other in (OtherInterpolation, OtherPreprocess):
        other.__module__, other.__qualname__ = TinyBackbone.__module__, TinyBackbone.__qualname__
    digests = [
        _digest(TinyBackbone()),
        _digest(TinyBackbone(), seed=1),
        _digest(TinyBackbone(image_size=20)),
        _digest(TinyBackbone(scale=1.0)),
        _digest(TinyBackbone(), Linear(pooling="max")),
        _digest(OtherInterpolation()),
        _digest(OtherPreprocess()),
    ]
    assert len(set(digests)) == len(digests)
    assert _digest(TinyBackbone()) == digests[0]


def test_the_fingerprint_depends_on_the_config_of_a_network_that_has_its_own():
    class Whole(TinyBackbone):
        own = 1.0

        def build(self):
            import keras

            inputs = keras.Input((16, 16, 3))
            return keras.Model(inputs, OwnConfig(self.own)(inputs))

    class Other(Whole):
        own = 2.0

    Other.__qualname__ = Whole.__qualname__
    assert _digest(Whole()) == _digest(Whole())
    assert _digest(Whole()) != _digest(Other())


def _digest_in_process(queue):
    queue.put(_digest(TinyBackbone()))


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_digest_in_process, args=(queue,))
    process.start()
    assert queue.get(timeout=120) == _digest(TinyBackbone())
    process.join()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10 * 4 * 4 * 3 - 1), st.integers(1, 255))
def test_any_changed_byte_changes_the_images_digest(position, change):
    images, _ = make_images(10, seed=0, size=4)
    before = fingerprint.digest_images(images)
    images.reshape(-1)[position] ^= np.uint8(change)
    assert fingerprint.digest_images(images) != before


def test_images_digest_sees_order_and_shape():
    images, _ = make_images(10, seed=0, size=4)
    digests = {
        fingerprint.digest_images(images),
        fingerprint.digest_images(images[::-1]),
        fingerprint.digest_images(images.reshape(10, 2, 8, 3)),
        fingerprint.digest_images(Mixed(images)),
    }
    assert len(digests) == 4


def test_the_key_depends_on_every_setting():
    keys = {
        fingerprint.fingerprint("model", "images"),
        fingerprint.fingerprint("model", "others"),
        fingerprint.fingerprint("other", "images"),
        fingerprint.fingerprint("model", "images", dtype="float16"),
        fingerprint.fingerprint("model", "images", dtype="float32"),
        fingerprint.fingerprint("model", "images", dtype="float32", view=1),
        fingerprint.fingerprint("model", "images", dtype="float32", view=2),
    }
    assert len(keys) == 7


SETTINGS = {
    "dtype": "float32",
    "precision": "float32",
    "view": 1,
    "augmentation": {"flip": True, "crop": 0.3, "colour": 0.2},
    "fixed_view": {"mirror": False, "scale": 1.0},
}
LEAVES = [(key,) for key in ("dtype", "precision", "view")] + [
    (table, key) for table in ("augmentation", "fixed_view") for key in SETTINGS[table]
]


@given(
    st.sampled_from([*LEAVES, "model", "images"]),
    st.text(max_size=5) | st.floats(allow_nan=False) | st.integers() | st.booleans(),
)
def test_a_change_of_any_setting_leads_to_another_key(leaf, value):
    digests = {"model": "a" * 64, "images": "b" * 64}
    before = fingerprint.fingerprint(digests["model"], digests["images"], **SETTINGS)
    changed = copy.deepcopy(SETTINGS)
    if isinstance(leaf, str):
        digests[leaf] = str(value)
    else:
        table = changed
        for key in leaf[:-1]:
            table = table[key]
        assume(json.dumps(table[leaf[-1]]) != json.dumps(value))
        table[leaf[-1]] = value
    assert fingerprint.fingerprint(digests["model"], digests["images"], **changed) != before


@pytest.fixture(scope="module")
def assembled():
    backbone = TinyBackbone()
    return assemble(backbone, Linear(), 3), backbone


@settings(max_examples=50)
@given(st.data())
def test_any_changed_bit_of_a_weight_leads_to_another_digest(assembled, data):
    model, backbone = assembled
    before = fingerprint.digest_model(model, backbone, Linear())
    weight = data.draw(st.sampled_from(model.backbone.weights))
    value = weight.numpy()
    changed = value.copy()
    place = data.draw(st.integers(0, changed.nbytes - 1))
    changed.view(np.uint8).reshape(-1)[place] ^= data.draw(st.integers(1, 255))
    weight.assign(changed)
    try:
        assert fingerprint.digest_model(model, backbone, Linear()) != before
    finally:
        weight.assign(value)
    assert fingerprint.digest_model(model, backbone, Linear()) == before


@settings(max_examples=50)
@given(
    st.sampled_from(["image_size", "interpolation", "options", "scale", "name"]), st.integers(1, 99)
)
def test_any_changed_property_of_the_backbone_leads_to_another_digest(assembled, what, value):
    model, backbone = assembled
    before = fingerprint.digest_model(model, backbone, Linear())
    other = TinyBackbone()
    if what == "options":
        other.options = {**other.options, "scale": 255.0 + value}
    elif what == "name":
        other.__class__ = type(f"Tiny{value}", (TinyBackbone,), {})
    else:
        setattr(other, what, f"method {value}" if what == "interpolation" else 255 + value)
    assert fingerprint.digest_model(model, other, Linear()) != before


def test_changed_code_and_another_version_lead_to_another_digest(tmp_path, monkeypatch, assembled):
    model, _ = assembled
    monkeypatch.syspath_prepend(tmp_path)
    code = "from tests.tiny import TinyBackbone\nclass Mine(TinyBackbone):\n    pass\n"
    (tmp_path / "my_backbone.py").write_text(code)
    import my_backbone

    mine = my_backbone.Mine()
    before = fingerprint.digest_model(model, mine, Linear())
    (tmp_path / "my_backbone.py").write_text(code + "# changed\n")
    after = fingerprint.digest_model(model, mine, Linear())
    assert before != after
    owners = {"my_backbone": ["my-distribution"]}
    monkeypatch.setattr(fingerprint, "distributions_of_packages", lambda: owners)
    found = {
        number: fingerprint.digest_model(model, mine, Linear())
        for number in ("1.0", "1.0.1")
        if not monkeypatch.setattr(fingerprint, "version", lambda _, number=number: number)
    }
    assert len({after, *found.values()}) == 3


def test_a_built_in_backbone_does_not_depend_on_the_version_of_tlkit():
    from tlkit.registry import Registry

    assert set(fingerprint.versions_of(Registry().create("backbone", "mobilenet_v2"))) == {"keras"}


def test_code_of_a_notebook_has_no_file():
    made = type("Made", (), {"__module__": "__main__"})
    assert isinstance(fingerprint.digest_code(made), str)
