"""Compare the shipped CIFAR-10 weights with random frozen weights on digits, over five seeds.

    python tests/benchmarks/digits_weights.py

Each seed decides the split, the random weights, the head and the batches. Both kinds of weights
get the quickstart's head and epochs; then a logistic regression on standardised features.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlkit.config.building import build_trainer


def measure(weights, seed):
    trainer = build_trainer(
        "quickstart",
        [f"backbone.weights={weights}", f"run.seed={seed}", "reporters=[]"],
        runs=None,
    )
    result = trainer.run()
    data = trainer.dataset.load(seed)
    model = result.model
    features = type(model)(model.input, model.get_layer("pool").output)
    train, test = (features.predict(part.images, verbose=0) for part in (data.train, data.test))
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    regression.fit(train, data.train.labels)
    return result.accuracy, regression.score(test, data.test.labels)


def main():
    figures = {
        weights: np.array([measure(weights, seed) for seed in range(5)])
        for weights in ("cifar10", "random")
    }
    print("| trained on the features | cifar10 weights | random weights |")
    print("|---|---|---|")
    for column, name in enumerate(("quickstart's head", "standardised logistic regression")):
        cells = [
            f"{100 * values[:, column].mean():.1f} % (± {100 * values[:, column].std(ddof=1):.1f})"
            for values in figures.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
