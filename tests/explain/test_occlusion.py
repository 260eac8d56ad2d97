import numpy as np
import pytest

from tests.explain.squares import network_made_by_hand, picture
from tlkit import ConfigError, ExplanationError
from tlkit.explain import occlusion


@pytest.fixture(scope="module")
def model():
    return network_made_by_hand()


def test_a_pixel_is_the_mean_drop_of_the_patches_that_hide_it(model):
    image = picture({"red": (4, 4), "blue": (20, 16)})
    found = occlusion(model, image, 0, patch=0.5, stride=0.5)
    whole = model.predict_on_batch(image[None].astype("float32"))[0, 0]
    expected = np.zeros((32, 32))
    for top in (0, 16):
        for left in (0, 16):
            hidden = image.astype("float32")
            hidden[top : top + 16, left : left + 16] = image.mean(axis=(0, 1))
            drop = whole - model.predict_on_batch(hidden[None])[0, 0]
            expected[top : top + 16, left : left + 16] = max(drop, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.max() > 0.1


@pytest.mark.parametrize(("patch", "stride"), [(0.3, 0.3), (0.25, 0.1), (0.9, 0.05), (0.01, 0.01)])
def test_every_pixel_is_hidden_at_least_once(model, patch, stride):
    heat = occlusion(model, picture({"red": (24, 24)}), 0, patch=patch, stride=stride)
    assert np.isfinite(heat).all()
    assert heat.shape == (32, 32)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() <= 1


def test_a_patch_that_helps_a_class_leaves_no_heat(model):
    image = picture({"blue": (4, 4)})
    assert occlusion(model, image, 0).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 0.0}, "patch = 0 is not allowed"),
        ({"patch": 1.0}, "patch = 1 is not allowed"),
        ({"patch": float("nan")}, "patch = nan"),
        ({"stride": 0.0}, "stride = 0 is not allowed"),
        ({"patch": 0.1, "stride": 0.2}, "up to the patch, 0.1"),
    ],
)
def test_patch_and_stride_are_checked(model, options, message):
    with pytest.raises(ConfigError, match=message):
        occlusion(model, picture({}), **options)


def test_a_class_that_is_not_there(model):
    with pytest.raises(ExplanationError, match="no class -1"):
        occlusion(model, picture({}), -1)
