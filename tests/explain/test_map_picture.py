import numpy as np
import pytest
from matplotlib.text import Text

from tlkit.explain.map_picture import COLOURS, MARKERS, draw_map
from tlkit.explain.projection import Projection


def _draw(labels, predictions, names, spread=1.0):
    points = np.random.default_rng(0).normal(scale=spread, size=(len(labels), 2))
    points = points.astype("float32")
    points[-1] = 1  # far from the others, if these lie together
    projection = Projection("pca", "PCA", points, ("x axis", "y axis"))
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    figure = draw_map(projection, labels, predictions, names, "run: PCA", "all 6 test images")
    return figure, figure.axes[0], points


def test_each_class_is_drawn_and_each_mistake_ringed():
    figure, axes, points = _draw([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], ["a", "$b$", "\x1b[31m"])
    *classes, rings = axes.collections
    assert [len(item.get_offsets()) for item in classes] == [2, 2, 2]
    np.testing.assert_allclose(rings.get_offsets(), points[[1, 5]])
    texts = [item.get_text() for item in axes.get_legend().get_texts()]
    assert texts == ["a", "$b$", "\\x1b[31m", "mistake (2)"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x axis", "y axis")
    assert "all 6 test images" in figure.get_suptitle()


def test_ninety_classes_look_different():
    assert len({(COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]) for n in range(90)}) == 90


@pytest.mark.parametrize(
    ("count", "legend", "texts"),
    [(12, True, "class {}"), (13, True, None), (40, True, None), (41, False, "{}")],
)
def test_many_classes_have_numbers_instead_of_a_legend(count, legend, texts):
    labels = np.arange(count)
    _, axes, _ = _draw(labels, labels, [f"class {n}" for n in labels])
    assert (axes.get_legend() is not None) == legend
    shown = [item.get_text() for item in axes.texts]
    assert shown == ([] if texts is None else [texts.format(n) for n in labels])
    assert ("Numbers" in axes.get_title()) != legend


def test_a_run_without_mistakes_can_be_drawn(tmp_path):
    figure, _, _ = _draw([0, 1], [0, 1], ["a", "b"])
    figure.savefig(tmp_path / "map.png")


@pytest.mark.parametrize("count", [10, 80])
def test_names_do_not_cover_one_another(count):
    labels = np.arange(count)
    figure, axes, points = _draw(labels, labels, [f"class {n}" for n in labels], spread=0.05)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == count
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert axes.get_window_extent().contains(box.x0, box.y0)
    moved = [text for text in axes.texts if text.get_position() != (0, 0)]
    assert moved
    assert all(text.arrow_patch.get_visible() == (text in moved) for text in axes.texts)
    np.testing.assert_allclose([text.xy for text in axes.texts], points, rtol=1e-6)
