"""Whether two classifiers differ by more than chance on the same test images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tlkit.compare.records import PairedTest


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's test, exact at any number of images.

    Images that both get right, or both get wrong, say nothing of the difference. If neither
    classifier is better, each of the others falls to either side with probability 1/2.

    Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions
    or percentages, Psychometrika 12, 153-157. T. G. Dietterich (1998), Approximate statistical
    tests for comparing supervised classification learning algorithms, Neural Computation 10,
    1895-1923, finds it the one to use where each classifier is trained once.

    Args:
        only_first: Images that only the first gets right, 0 or more.
        only_second: Images that only the second gets right, 0 or more.

    Returns:
        The p-value, 0 to 1; 1 if there is no image on which they differ.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def difference_interval(
    both: int, only_first: int, only_second: int, neither: int
) -> tuple[float, float]:
    """Return a 95 % confidence interval of the difference of two paired proportions.

    Method 10 of R. G. Newcombe (1998), Improved confidence intervals for the difference between
    binomial proportions based on paired data, Statistics in Medicine 17, 2635-2650: Wilson's score
    limits of the two proportions, joined with a continuity-corrected estimate of their correlation.

    Args:
        both: Images that both get right.
        only_first: Images that only the first gets right.
        only_second: Images that only the second gets right.
        neither: Images that both get wrong; the four together are 1 or more.

    Returns:
        Limits of (share of the first - share of the second), -1 to 1.
    """
    from scipy.stats import binomtest

    images = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    limits = [
        binomtest(right, images).proportion_ci(0.95, method="wilson") for right in (first, second)
    ]
    below_first, below_second = first / images - limits[0].low, second / images - limits[1].low
    above_first, above_second = limits[0].high - first / images, limits[1].high - second / images
    product = math.prod([first, images - first, second, images - second])
    covariance: float = both * neither - only_first * only_second
    if covariance > 0:
        covariance = max(covariance - images / 2, 0)
    phi = covariance / math.sqrt(product) if product else 0.0
    difference = (only_first - only_second) / images
    low = below_first**2 - 2 * phi * below_first * above_second + above_second**2
    high = above_first**2 - 2 * phi * above_first * below_second + below_second**2
    return difference - math.sqrt(max(low, 0)), difference + math.sqrt(max(high, 0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, in the same order.

    S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 65-70.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def paired_tests(right: Mapping[str, np.ndarray]) -> tuple[PairedTest, ...]:
    """Test every pair of classifiers.

    Args:
        right: For each name whether it is right: a bool array (N,), the same images for all.

    Returns:
        One test for each pair, in order, with Holm's correction over all of them.
    """
    tests = []
    for (first, a), (second, b) in itertools.combinations(right.items(), 2):
        both, neither = int((a & b).sum()), int((~a & ~b).sum())
        only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
        p_value = mcnemar(only_first, only_second)
        tests.append(
            PairedTest(
                first=first,
                second=second,
                only_first=only_first,
                only_second=only_second,
                images=len(a),
                p_value=p_value,
                adjusted_p_value=p_value,
                difference=(only_first - only_second) / len(a),
                interval=difference_interval(both, only_first, only_second, neither),
            )
        )
    adjusted = holm([test.p_value for test in tests])
    return tuple(
        replace(test, adjusted_p_value=value) for test, value in zip(tests, adjusted, strict=True)
    )
