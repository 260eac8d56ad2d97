import numpy as np
import pytest

from tests.explain.squares import picture
from tlkit.explain.heat_picture import draw_heat, overlay
from tlkit.explain.records import ClassHeat


def _heat(value=1.0, shape=(32, 32)):
    heat = np.zeros(shape, np.float32)
    heat[4:12, 4:12] = value
    return heat


def _texts(axes):
    return " ".join(item.get_text() for item in axes.texts)


def test_panels_titles_units_and_one_scale():
    heats = [ClassHeat("red", 0.75, _heat(0.5)), ClassHeat("$b$", 0.25, _heat(0.2))]
    figure = draw_heat(picture({}), heats, "occlusion", "Occlusion: a.png", "predicted: red")
    image, red, blue = figure.axes[:3]
    assert image.get_title() == "Image"
    assert red.get_title() == "For red (75.0 %)"
    assert blue.get_title() == "For $b$ (25.0 %)"
    assert image.get_ylabel() == "y (pixels)"
    assert all(axes.get_xlabel() == "x (pixels)" for axes in (image, red, blue))
    (bar,) = blue.child_axes
    assert bar.get_ylabel() == "Drop of probability\n(points)"
    assert bar.get_ylim() == pytest.approx((0, 50))
    assert "predicted: red" in figure.get_suptitle()


def test_the_heat_colours_its_place_and_the_rest_stays_grey():
    figure = draw_heat(picture({}), [ClassHeat("red", 1.0, _heat())], "grad-cam", "t", "s")
    drawn = np.asarray(figure.axes[1].images[0].get_array())
    colourful = drawn.max(axis=2) - drawn.min(axis=2)
    rows = len(drawn) // 32
    assert colourful[6 * rows : 10 * rows, 6 * rows : 10 * rows].min() > 0.1
    assert colourful[16 * rows :, 16 * rows :].max() < 1e-6


@pytest.mark.parametrize(
    ("method", "heat", "text"),
    [
        ("grad-cam", 0.0, "nothing speaks"),
        ("occlusion", 0.0005, "nothing speaks"),
        ("occlusion", 0.018, "drops by 1.8 points"),
        ("occlusion", 0.8, ""),
        ("grad-cam", 1.0, ""),
    ],
)
def test_an_empty_or_a_faint_panel_says_so(method, heat, text):
    heats = [ClassHeat("red", 0.9, _heat(0.9)), ClassHeat("blue", 0.1, _heat(heat))]
    figure = draw_heat(picture({}), heats, method, "t", "s")
    shown = _texts(figure.axes[2]).replace("\n", " ")
    assert text in shown
    assert bool(text) == bool(shown)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (1500, 1000)])
def test_images_of_any_size(tmp_path, shape):
    image = np.zeros((*shape, 3), np.uint8)
    heat = ClassHeat("red", 1.0, np.ones(shape, np.float32))
    figure = draw_heat(image, [heat], "grad-cam", "x" * 200, "s")
    figure.savefig(tmp_path / "heat.png")
    assert max(figure.get_size_inches()) < 12


def test_an_overlay_is_opaque_where_it_is_hot():
    heat = _heat(0.5)
    heat[6, 6] = 1
    found = overlay(heat)
    assert (found.shape, found.dtype) == ((32, 32, 4), np.uint8)
    assert found[20, 20, 3] == 0
    assert 0 < found[4, 4, 3] < found[6, 6, 3] < 255
    assert found[6, 6, :3].tolist() != found[4, 4, :3].tolist()
