import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.compare.significance import difference_interval, holm, mcnemar, paired_tests


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        (1, 0, 1.0),  # 2 * (1/2)
        (5, 0, 2 / 32),
        (0, 5, 2 / 32),
        (6, 1, 2 * (1 + 7) / 2**7),
        (12, 2, 2 * (1 + 14 + 91) / 2**14),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, p_value):
    assert mcnemar(only_first, only_second) == pytest.approx(p_value)


def test_mcnemar_rejects_at_most_its_level_where_nobody_is_better():
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(2000):
        # Both 70 % right, with much in common, as heads on one backbone are.
        easy = generator.random(300) < 0.6
        a, b = (np.where(easy, True, generator.random(300) < 0.25) for _ in range(2))
        rejected += mcnemar(int((a & ~b).sum()), int((~a & b).sum())) < 0.05
    assert 0.01 < rejected / 2000 < 0.055


def test_mcnemar_finds_a_difference_that_is_there():
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        a = generator.random(1000) < 0.85
        b = a & (generator.random(1000) < 0.93)
        found += mcnemar(int((a & ~b).sum()), int((~a & b).sum())) < 0.05
    assert found == 200


def test_the_interval_is_that_of_newcombes_paper():
    low, high = difference_interval(36, 12, 2, 0)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)


@pytest.mark.parametrize("table", [(10, 0, 0, 0), (0, 0, 0, 10), (0, 10, 0, 0), (0, 0, 10, 0)])
def test_the_interval_holds_for_extreme_tables(table):
    low, high = difference_interval(*table)
    assert -1 <= low <= (table[1] - table[2]) / 10 <= high <= 1


counts = st.integers(0, 500)


@settings(deadline=None)
@given(counts, counts, counts, counts)
def test_the_interval_holds_the_difference_and_turns_with_the_order(a, b, c, d):
    if a + b + c + d == 0:
        return
    low, high = difference_interval(a, b, c, d)
    assert -1.0001 <= low <= (b - c) / (a + b + c + d) <= high <= 1.0001
    turned = difference_interval(a, c, b, d)
    assert turned == pytest.approx((-high, -low), abs=1e-9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    cells, truth = [0.7, 0.12, 0.08, 0.1], 0.04
    covered = 0
    for table in generator.multinomial(200, cells, size=1000):
        low, high = difference_interval(*(int(count) for count in table))
        covered += low <= truth <= high
    assert 0.93 <= covered / 1000 <= 0.98


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_keeps_the_order(values):
    adjusted = holm(values)
    assert all(new >= old for new, old in zip(adjusted, values, strict=True))
    assert sorted(adjusted) == [
        adjusted[i] for i in sorted(range(len(values)), key=values.__getitem__)
    ]


def test_every_pair_is_tested_and_corrected():
    generator = np.random.default_rng(0)
    right = {
        name: generator.random(400) < share
        for name, share in zip("abc", (0.9, 0.6, 0.6), strict=True)
    }
    ab, ac, bc = paired_tests(right)
    assert [(test.first, test.second) for test in (ab, ac, bc)] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    assert ab.larger_than_chance
    assert ac.larger_than_chance
    assert not bc.larger_than_chance
    assert ab.difference == pytest.approx(right["a"].mean() - right["b"].mean())
    assert ab.interval[0] < ab.difference < ab.interval[1]
    assert ab.adjusted_p_value >= ab.p_value
    assert math.isclose(ab.only_first - ab.only_second, 400 * ab.difference)
    assert ab.images == 400
