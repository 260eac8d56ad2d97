"""The heat must fall where the evidence is: pictures that one square decides."""

import numpy as np
import pytest

from tests.explain.squares import (
    CLASS_NAMES,
    SQUARE,
    Squares,
    network_made_by_hand,
    picture,
    share_within,
)
from tlkit.explain import grad_cam, occlusion
from tlkit.explain.parts import find_parts

METHODS = {"grad-cam": grad_cam, "occlusion": occlusion}
CORNERS = ((4, 4), (4, 20), (20, 4), (20, 16))


@pytest.fixture(scope="module")
def by_hand():
    return network_made_by_hand()


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.mark.parametrize("place", CORNERS)
def test_heat_lies_in_the_square_and_moves_with_it(by_hand, method, place):
    heat = method(by_hand, picture({"red": place}), 0)
    assert share_within(heat, place, margin=4) > 0.9
    for other in CORNERS:
        if other != place:
            assert share_within(heat, other, margin=0) < 0.1


def test_each_class_has_its_own_square(by_hand, method):
    image = picture({"red": (4, 4), "blue": (20, 16), "white": (4, 20)})
    for index, place in enumerate([(4, 4), (20, 16)]):
        heat = method(by_hand, image, index)
        assert share_within(heat, place, margin=4) > 0.9
        assert share_within(heat, (4, 20), margin=0) < 0.05


def test_grad_cam_follows_the_plain_view_whatever_comes_after(by_hand):
    image = picture({"red": (4, 4), "blue": (20, 16)})
    expected = grad_cam(by_hand, image, 0)
    for changes in ({"temperature": True}, {"views": True}, {"temperature": True, "views": True}):
        found = grad_cam(network_made_by_hand(**changes), image, 0)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def _hits(model, method, count=12):
    """Return the shares of heat near the deciding square, and how often the hottest lies there."""
    split, places = Squares.split(count, 3)
    shares, peaks = [], []
    for image, label, (y, x) in zip(split.images, split.labels, places, strict=True):
        heat = method(model, image, int(label))
        if not heat.any():
            shares.append(0.0)
            peaks.append(False)
            continue
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        shares.append(share_within(heat, (y, x), margin=4))
        peaks.append(y - 2 <= row < y + SQUARE + 2 and x - 2 <= column < x + SQUARE + 2)
    return np.mean(shares), np.mean(peaks)


def test_a_trained_network_looks_at_the_square(squares_run, method):
    assert squares_run.accuracy > 0.9
    share, peaks = _hits(squares_run.model, method)
    # The square with its margin is at most a quarter of the picture.
    assert share > 0.55
    assert peaks > 0.9


def test_a_head_of_random_weights_does_not(squares_run):
    """The sanity check of Adebayo et al. 2018: the heat must depend on what was learned."""
    trained = _hits(squares_run.model, grad_cam)
    head = find_parts(squares_run.model).head
    learned = head.get_weights()
    found = []
    try:
        for seed in range(12):
            generator = np.random.default_rng(seed)
            head.set_weights([generator.normal(0, 1, weight.shape) for weight in learned])
            found.append(_hits(squares_run.model, grad_cam, count=6))
    finally:
        head.set_weights(learned)
    share, peaks = np.mean(found, axis=0)
    assert share < 0.6 * trained[0]
    assert peaks < 0.5 * trained[1]


def test_class_names_are_those_of_the_network():
    model = network_made_by_hand()
    for index, name in enumerate(CLASS_NAMES):
        assert model.predict_on_batch(picture({name: (8, 8)})[None])[0].argmax() == index
