"""How well scores tell CIFAR-10's test pictures from other ones: AUROC by score and kind.

Of a run on CIFAR-10. The scores: the largest probability (Hendrycks and Gimpel 2017); on what the
head receives the Mahalanobis distance to the nearest class (Lee et al. 2018), the same relative to
that of all classes (Ren et al. 2021), and the distance to the 10th nearest training image after
normalising (Sun et al. 2022); on the means of inner layers' maps the Mahalanobis distance to one
Gaussian, which ``tlkit predict --flag-unfamiliar`` takes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits, load_sample_images
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

from tlkit import Classifier, Registry, load_run
from tlkit.predict.familiar import FILE, learn_familiarity
from tlkit.run_data import data_of_run

NEIGHBOUR = 10


def make_pictures(test, count, generator):
    """Return kinds of pictures that are not of CIFAR-10's classes, uint8 (N, 32, 32, 3) mostly."""
    digits = (load_digits().images[:count] * 255 / 16).astype(np.uint8)
    patches = []
    for photo in load_sample_images().images:
        for side in (32, 64):
            step = side // 32
            for top in range(0, photo.shape[0] - side, side):
                for left in range(0, photo.shape[1] - side, side):
                    patches.append(photo[top : top + side : step, left : left + side : step])
    chosen = generator.permutation(len(patches))[:count]
    tiles = test[:count].reshape(-1, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(-1, 16, 8, 8, 3)
    mixed = np.stack([item[generator.permutation(16)] for item in tiles])
    mixed = mixed.reshape(-1, 4, 4, 8, 8, 3).swapaxes(2, 3).reshape(-1, 32, 32, 3)
    shape = (count, 32, 32, 3)
    return {
        "digits": np.repeat(digits[..., None], 3, axis=-1),
        "uniform noise": generator.integers(0, 256, shape).astype(np.uint8),
        "gaussian noise": np.clip(generator.normal(127, 60, shape), 0, 255).astype(np.uint8),
        "patches of photos": np.stack(patches)[chosen],
        "shuffled tiles": mixed,
    }


def answers(classifier, images):
    found = [
        classifier.answer(classifier.stack(images[row : row + 64]))
        for row in range(0, len(images), 64)
    ]
    return (
        np.concatenate([item.probabilities for item in found]),
        np.concatenate([item.features for item in found]).astype(np.float64),
    )


def squares(features, mean, precision):
    return np.einsum("ij,ij->i", (features - mean) @ precision, features - mean)


def head_scores(features, labels):
    """Return scores of what the head receives, each a function of features."""
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = LedoitWolf(assume_centered=True).fit(features - means[labels]).precision_
    middle, overall = features.mean(axis=0), LedoitWolf().fit(features).precision_
    bank = normalize(features)

    def mahalanobis(found):
        return np.min([squares(found, mean, within) for mean in means], axis=0)

    return {
        "Mahalanobis, head's features": mahalanobis,
        "relative Mahalanobis, head's features": lambda found: (
            mahalanobis(found) - squares(found, middle, overall)
        ),
        f"neighbour {NEIGHBOUR}, head's features": lambda found: (
            -np.sort(normalize(found) @ bank.T, axis=1)[:, -NEIGHBOUR]
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run on CIFAR-10")
    parser.add_argument("--count", type=int, default=500, help="pictures of each kind")
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    data = data_of_run(run, Registry())
    (arguments.run / FILE).unlink(missing_ok=True)
    familiarity = learn_familiarity(run)
    train, test = data.subsets["train"], data.data.test.images[:2000]
    rows = train.rows[:2000]
    images = {"": test, **make_pictures(test, arguments.count, np.random.default_rng(0))}
    head = Classifier.open(arguments.run, features=True)
    scores = head_scores(answers(head, train.split.images[rows])[1], train.split.labels[rows])
    table: dict[str, dict[str, np.ndarray]] = {"largest probability": {}}
    inner = Classifier.open(arguments.run, features=familiarity.layers)
    name = f"Mahalanobis, {len(familiarity.layers)} inner layers"
    for kind, pictures in images.items():
        probabilities, features = answers(head, pictures)
        table["largest probability"][kind] = -probabilities.max(axis=1)
        for score, function in scores.items():
            table.setdefault(score, {})[kind] = function(features)
        table.setdefault(name, {})[kind] = familiarity.distances(answers(inner, pictures)[1])
    kinds = list(images)[1:]
    print(f"| AUROC | {' | '.join(kinds)} |\n|---{'|---' * len(kinds)}|")
    for score, found in table.items():
        cells = []
        for kind in kinds:
            truth = np.repeat([0, 1], [len(found[""]), len(found[kind])])
            cells.append(f"{roc_auc_score(truth, np.concatenate([found[''], found[kind]])):.3f}")
        print(f"| {score} | {' | '.join(cells)} |")
    shares = [f"{(table[name][kind] > 1).mean():.1%}" for kind in kinds]
    of_test = (table[name][""] > 1).mean()
    print(f"| flagged; of the test pictures {of_test:.1%} | {' | '.join(shares)} |")
    size = (arguments.run / FILE).stat().st_size
    print(f"{familiarity.layers}: {len(familiarity.mean)} channels, {size:,} bytes")


if __name__ == "__main__":
    main()
