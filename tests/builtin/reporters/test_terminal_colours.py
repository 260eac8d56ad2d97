import io

import pytest
from rich.color import ColorSystem
from rich.console import Console

from tlkit.builtin.reporters.terminal_colours import BLUE, VERMILION, Palette, contrast

SHARES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0]
# The black and the white of terminals' dark and light themes, and those of common themes.
GROUNDS = [(0, 0, 0), (30, 30, 30), (0, 43, 54), (255, 255, 255), (253, 246, 227)]


def palette(system, **options):
    return Palette(Console(file=io.StringIO(), color_system=system, **options))


def test_the_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("colour", [BLUE, VERMILION])
@pytest.mark.parametrize("ground", GROUNDS)
def test_colours_stand_out_on_dark_and_light(colour, ground):
    assert contrast(colour, ground) >= 3  # WCAG's least for graphics and large text


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("system", ["truecolor", "256"])
def test_numbers_can_be_read_on_every_shade(system, right):
    kind = {"truecolor": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT}[system]
    for share in SHARES[1:]:
        style = palette(system).cell(share, right)
        text, ground = (
            colour.downgrade(kind).get_truecolor() for colour in (style.color, style.bgcolor)
        )
        assert contrast(text, ground) >= 4.5, (share, text, ground)


@pytest.mark.parametrize("right", [False, True])
def test_a_larger_share_is_darker_so_that_no_hue_is_needed(right):
    grounds = [
        palette("truecolor").cell(share, right).bgcolor.get_truecolor() for share in SHARES[1:]
    ]
    brightness = [contrast(ground, (0, 0, 0)) for ground in grounds]
    assert brightness == sorted(brightness, reverse=True)
    assert brightness[0] > 2 * brightness[-1]


@pytest.mark.parametrize("options", [{"system": "standard"}, {"system": "256", "no_color": True}])
def test_without_shades_mistakes_are_reversed_and_right_answers_bold(options):
    styles = palette(**options)
    assert str(styles.cell(0.5, True)) == "bold not reverse"
    assert styles.cell(0.2, False).reverse
    assert not styles.cell(0.01, False).reverse
    assert styles.cell(0.0, False).dim
