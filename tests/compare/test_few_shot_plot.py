import itertools

import pytest

from tlkit.compare.few_shot_plot import draw_few_shot
from tlkit.compare.files import write
from tlkit.compare.records import Cell, Comparison
from tlkit.compare.summary import Row


def make_rows(backbones=("a",), heads=("b",), counts=(1, 5, 20), seeds=(0, 1, 2)):
    return [
        Row(
            backbone, head, count,
            seeds=seeds,
            accuracy=0.3 + 0.01 * (count or 500) ** 0.5 + 0.02 * number,
            deviation=0.02 if len(seeds) > 1 else None,
            interval=None if len(seeds) > 1 else (0.2, 0.9),
        )
        for number, (backbone, head) in enumerate(itertools.product(backbones, heads))
        for count in counts
    ]  # fmt: skip


def ticks(figure):
    return [text.get_text() for text in figure.axes[0].get_xticklabels()]


def boxes(figure, texts):
    figure.canvas.draw()
    return [text.get_window_extent(figure.canvas.get_renderer()) for text in texts]


def test_the_points_are_the_means_at_their_numbers():
    rows = make_rows()
    axes = draw_few_shot(rows).axes[0]
    line = axes.containers[0].lines[0]
    assert line.get_xdata() == pytest.approx([1, 5, 20])
    assert line.get_ydata() == pytest.approx([100 * row.accuracy for row in rows])
    assert axes.get_xscale() == "log"
    low, high = axes.containers[0].lines[1]
    assert high.get_ydata() - low.get_ydata() == pytest.approx([4.0] * 3)


def test_all_stands_at_the_right_end():
    figure = draw_few_shot(make_rows(counts=(0, 1000, 1)))
    assert ticks(figure) == ["1", "1,000", "all"]
    places = figure.axes[0].containers[0].lines[0].get_xdata()
    assert list(places) == sorted(places)
    assert places[2] > 1000
    assert "not to scale" in figure.axes[0].get_xlabel()
    assert "not to scale" not in draw_few_shot(make_rows()).axes[0].get_xlabel()


def test_the_picture_says_what_its_bars_are():
    def said(rows):
        return draw_few_shot(rows).axes[0].texts[0].get_text()

    assert said(make_rows()) == "Mean over 3 seeds; bars: standard deviation over the seeds"
    assert "95 % confidence interval" in said(make_rows(seeds=(0,)))
    mixed = [*make_rows(counts=(1, 5)), *make_rows(counts=(20,), seeds=(0,))]
    assert "Mean over 1 to 3 seeds; bars: standard deviation" in said(mixed)
    low, high = draw_few_shot(mixed).axes[0].containers[0].lines[1]
    assert (high.get_ydata() - low.get_ydata())[2] == 0


@pytest.mark.parametrize("count", [2, 6, 12])
def test_each_line_has_its_own_look_and_the_legend_covers_none(count):
    rows = make_rows([f"backbone_{number}" for number in range(count // 2)], ("$x$", "a_b"))
    figure = draw_few_shot(rows)
    axes = figure.axes[0]
    lines = [container.lines[0] for container in axes.containers]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == count
    assert len({line.get_marker() for line in lines}) >= min(count, 10)
    (legend,) = figure.legends
    (found,) = boxes(figure, [legend])
    # Below the number axis and its name, and within the picture.
    assert found.y1 <= axes.get_tightbbox(figure.canvas.get_renderer()).y0
    assert found.x0 >= 0
    assert found.x1 <= figure.bbox.x1
    assert found.y0 >= 0
    assert figure.bbox.width <= 1000
    ends = [line.get_ydata()[-1] for line in lines]
    assert ends == sorted(ends, reverse=True)
    # No point may be taken for that of the number beside it.
    for line in lines:
        assert line.get_xdata() == pytest.approx([1, 5, 20], rel=0.25)


def test_what_the_lines_share_is_said_once():
    def words(rows):
        figure = draw_few_shot(rows)
        axes = figure.axes[0]
        found = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        return axes.get_title(loc="left"), found

    assert words(make_rows()) == ("Accuracy with few images: a, b", [])
    assert words(make_rows(heads=("b", "c"))) == ("Accuracy with few images: a", ["c", "b"])
    assert words(make_rows(("a", "d"), ("b", "c"))) == (
        "Accuracy with few images", ["d, c", "d, b", "a, c", "a, b"]
    )  # fmt: skip


@pytest.mark.parametrize("counts", [range(1, 40), (5, 6), (1, 2, 5, 10, 20, 50, 0), (99_999, 0)])
def test_tick_labels_do_not_overlap(counts):
    figure = draw_few_shot(make_rows(counts=tuple(counts)))
    labels = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
    assert len(labels) >= 2
    for left, right in itertools.pairwise(boxes(figure, labels)):
        assert left.x1 < right.x0


def test_there_is_no_picture_of_one_number_or_of_single_runs(tmp_path):
    assert draw_few_shot(make_rows(counts=(5,))) is None
    assert draw_few_shot([]) is None
    unfinished = Row("a", "b", 1)
    assert draw_few_shot([unfinished, *make_rows(counts=(5,))]) is None
    named = [Row("a", "b", count, name=str(count), accuracy=0.5) for count in (1, 5)]
    assert draw_few_shot(named) is None
    (tmp_path / "few_shot.png").write_bytes(b"of an earlier grid")
    write(Comparison((Cell("a", "b", 0, "", error="x"),)), tmp_path)
    assert not (tmp_path / "few_shot.png").exists()
