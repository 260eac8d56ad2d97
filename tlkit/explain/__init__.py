"""Explanations: where in a picture the evidence lies, and how the classes lie to one another.

``grad_cam()`` and ``occlusion()`` explain one answer of one model; ``explain_pictures()`` and
``explain_test_images()`` write such explanations of a finished run as PNG files, and
``draw_maps()`` a map of its test features.
"""

from tlkit.explain.feature_map import draw_maps
from tlkit.explain.grad_cam import grad_cam
from tlkit.explain.occlusion import occlusion
from tlkit.explain.records import Explanation, FeatureMap
from tlkit.explain.writing import Settings, explain_pictures, explain_test_images

__all__ = [
    "Explanation",
    "FeatureMap",
    "Settings",
    "draw_maps",
    "explain_pictures",
    "explain_test_images",
    "grad_cam",
    "occlusion",
]
