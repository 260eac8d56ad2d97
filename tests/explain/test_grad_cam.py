import numpy as np
import pytest
from PIL import Image

from tests.explain.squares import network_made_by_hand, picture
from tests.tiny import Colours, TinyBackbone
from tlkit import ExplanationError, Trainer
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.explain import grad_cam, occlusion
from tlkit.explain.parts import find_parts


@pytest.fixture(scope="module")
def model():
    return network_made_by_hand()


def test_of_a_linear_head_on_mean_maps_it_is_the_class_activation_map(squares_run):
    """Selvaraju et al. 2017, section 3.1: Grad-CAM generalises CAM (Zhou et al. 2016)."""
    import keras

    image = picture({"red": (10, 3), "white": (0, 20)})
    parts = find_parts(squares_run.model)
    maps = keras.Model(squares_run.model.inputs, parts.maps).predict_on_batch(image[None])[0]
    weights = parts.head.get_weights()[0]
    expected = np.maximum(maps @ weights[:, 0], 0)
    enlarged = Image.fromarray(expected).resize((32, 32), Image.Resampling.BILINEAR)
    expected = np.asarray(enlarged) / np.asarray(enlarged).max()
    np.testing.assert_allclose(grad_cam(squares_run.model, image, 0), expected, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (20, 50), (300, 100)])
def test_shape_type_and_range(model, size):
    image = np.asarray(Image.fromarray(picture({"red": (4, 4)})).resize(size[::-1]))
    heat = grad_cam(model, image)
    assert heat.shape == size
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    assert heat.max() == 1
    top, left = np.argwhere(heat > 0.9).mean(axis=0) / size
    assert (top, left) == pytest.approx((0.25, 0.25), abs=0.05)


def test_the_predicted_class_is_the_default(model):
    image = picture({"blue": (16, 16)})
    np.testing.assert_array_equal(grad_cam(model, image), grad_cam(model, image, 1))


def test_where_nothing_speaks_for_a_class_there_is_no_heat(squares_run, model):
    image = picture({"blue": (16, 16)})
    head = find_parts(model).head
    learned = head.get_weights()
    head.set_weights([-np.abs(learned[0]), learned[1]])
    try:
        assert not grad_cam(model, image, 1).any()
    finally:
        head.set_weights(learned)


def test_it_leaves_the_image_alone(model):
    image = picture({"red": (4, 4)})
    before = image.copy()
    grad_cam(model, image)
    occlusion(model, image)
    np.testing.assert_array_equal(image, before)


def test_bad_input_is_named(model):
    import keras

    with pytest.raises(ExplanationError, match=r"no class 2; allowed: 0 to 1"):
        grad_cam(model, picture({}), 2)
    with pytest.raises(ExplanationError, match=r"shape \(32, 32\)"):
        grad_cam(model, np.zeros((32, 32)))
    inputs = keras.Input((8, 8, 3))
    plain = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(ExplanationError, match="does not end in a softmax"):
        grad_cam(keras.Model(inputs, plain), np.zeros((8, 8, 3)))
    softmax = keras.layers.Softmax()(plain)
    with pytest.raises(ExplanationError, match="no nested backbone"):
        grad_cam(keras.Model(inputs, softmax), np.zeros((8, 8, 3)))


def test_maps_of_one_place_are_refused():
    """They would colour all of the image alike."""
    run = _train("linear", image_size=4)
    with pytest.raises(ExplanationError, match=r"1 x 1 places.*--method occlusion"):
        grad_cam(run.model, run.test_images[0])


def _train(head, image_size=16):
    return Trainer(
        TinyBackbone(image_size), head, Colours(), FreezeAndTrain(20), [], runs=None
    ).run()


@pytest.mark.parametrize("name", ["linear", "mlp", "dense", "logistic", "prototype"])
def test_heads_with_a_gradient(name):
    run = _train(name)
    for index in range(3):
        assert grad_cam(run.model, run.test_images[0], index).shape == (12, 12)


@pytest.mark.parametrize("k", [1, 5])
def test_a_head_without_a_gradient_is_named_and_occlusion_offered(k):
    """One neighbour is looked up; the votes of neighbours of one class do not move either."""
    run = _train({"name": "knn", "k": k})
    image = run.test_images[int(run.test.probabilities.max(axis=1).argmax())]
    with pytest.raises(ExplanationError, match=r"'knn'.*--method occlusion") as caught:
        grad_cam(run.model, image)
    assert "gradient" in str(caught.value)
    assert occlusion(run.model, image).shape == (12, 12)
