import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler, normalize
from threadpoolctl import threadpool_info, threadpool_limits

from tlkit import ConfigError, LabelledFeatures
from tlkit.builtin.heads.knn import KNN
from tlkit.builtin.heads.logistic import Logistic
from tlkit.builtin.heads.prototype import Prototype


def make_features(count, seed, num_classes=3, classes=None):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % (classes or num_classes)
    centres = np.random.default_rng(0).normal(size=(num_classes, 8)) + 1.5
    features = centres[labels] + generator.normal(size=(count, 8)) * 1.2
    return LabelledFeatures(features.astype(np.float32), labels.astype(np.int64), num_classes)


TRAIN, VALIDATION = make_features(120, 1), make_features(60, 2)


def probabilities(model, features):
    return keras.ops.convert_to_numpy(keras.ops.softmax(model(features)))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_logistic_is_scikit_learns_regression(num_classes):
    train = make_features(120, 1, num_classes)
    held_out = make_features(60, 2, num_classes)
    model, chosen = Logistic(C=0.1).solve(train, held_out, None)
    scaler = StandardScaler().fit(train.features)
    theirs = LogisticRegression(C=0.1).fit(scaler.transform(train.features), train.labels)
    expected = theirs.predict_proba(scaler.transform(held_out.features))
    np.testing.assert_allclose(probabilities(model, held_out.features), expected, atol=2e-3)
    assert chosen == {"C": 0.1}


def test_logistic_chooses_the_regularisation_on_validation():
    _model, chosen = Logistic().solve(TRAIN, VALIDATION, None)
    losses = {}
    for strength in (1e-4, chosen["C"], 10.0):
        other, _ = Logistic(C=strength).solve(TRAIN, VALIDATION, None)
        shares = probabilities(other, VALIDATION.features)
        losses[strength] = -np.log(shares[np.arange(60), VALIDATION.labels]).mean()
    assert min(losses, key=losses.get) == chosen["C"]
    assert 1e-4 < chosen["C"] < 10


def test_logistic_fits_in_one_thread_and_gives_the_others_back(monkeypatch):
    fit = LogisticRegression.fit
    seen = []

    def watched(self, *arguments):
        seen.extend(item["num_threads"] for item in threadpool_info())
        return fit(self, *arguments)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    with threadpool_limits(2):
        before = [item["num_threads"] for item in threadpool_info()]
        Logistic(C=0.1).solve(TRAIN, VALIDATION, None)
        assert [item["num_threads"] for item in threadpool_info()] == before
    assert set(seen) == {1}


def test_logistic_takes_class_weights():
    plain, _ = Logistic(C=0.1).solve(TRAIN, VALIDATION, None)
    weighted, _ = Logistic(C=0.1).solve(TRAIN, VALIDATION, (1.0, 1.0, 20.0))
    shares = [probabilities(model, VALIDATION.features)[:, 2].mean() for model in (plain, weighted)]
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize("head", [Logistic(), Prototype(), KNN()], ids=repr)
def test_a_class_without_images_is_never_predicted(head):
    train = make_features(60, 1, num_classes=4, classes=3)
    model, _ = head.solve(train, VALIDATION, None)
    shares = probabilities(model, make_features(60, 3, num_classes=4).features)
    assert shares.shape == (60, 4)
    assert shares[:, 3].max() < 1e-3


def test_prototype_is_the_nearest_class_mean():
    model, chosen = Prototype().solve(TRAIN, VALIDATION, None)
    theirs = NearestCentroid().fit(normalize(TRAIN.features), TRAIN.labels)
    ours = probabilities(model, VALIDATION.features).argmax(axis=1)
    np.testing.assert_array_equal(ours, theirs.predict(normalize(VALIDATION.features)))
    assert chosen["scale"] in [2**power for power in range(9)]


def test_prototype_logits_are_scaled_squared_distances():
    model, _ = Prototype(scale=3.0).solve(TRAIN, VALIDATION, None)
    unit = normalize(TRAIN.features)
    means = np.stack([unit[TRAIN.labels == label].mean(axis=0) for label in range(3)])
    x = normalize(VALIDATION.features)
    distances = np.square(x[:, None] - means).sum(axis=2)
    logits = np.asarray(model(VALIDATION.features))
    differences = logits[:, :1] - logits
    np.testing.assert_allclose(differences, -3 * (distances[:, :1] - distances), atol=1e-3)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_is_scikit_learns_vote(k):
    def weigh(distances):  # of unit vectors: cosine = 1 - squared distance / 2
        return np.exp((1 - distances**2 / 2) / 0.07)

    theirs = KNeighborsClassifier(k, weights=weigh)
    theirs.fit(normalize(TRAIN.features), TRAIN.labels)
    model, chosen = KNN(k=k).solve(TRAIN, VALIDATION, None)
    expected = theirs.predict_proba(normalize(VALIDATION.features))
    np.testing.assert_allclose(probabilities(model, VALIDATION.features), expected, atol=1e-3)
    assert chosen == {"k": k}


def test_knn_chooses_k_on_validation():
    _, chosen = KNN().solve(TRAIN, VALIDATION, None)
    right = {}
    for k in (1, 3, 5, 10, 20, 50, 100):
        model, _ = KNN(k=k).solve(TRAIN, VALIDATION, None)
        answers = probabilities(model, VALIDATION.features).argmax(axis=1)
        right[k] = int((answers == VALIDATION.labels).sum())
    assert right[chosen["k"]] == max(right.values())


@pytest.mark.parametrize("head", [Logistic(), Prototype(), KNN()], ids=repr)
def test_they_survive_saving(head, tmp_path):
    model, _ = head.solve(TRAIN, VALIDATION, None)
    model.save(tmp_path / "head.keras")
    loaded = keras.models.load_model(tmp_path / "head.keras")
    np.testing.assert_allclose(loaded(VALIDATION.features), model(VALIDATION.features), atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Logistic(C=0.0),
        lambda: Logistic(max_iter=0),
        lambda: Prototype(scale=-1.0),
        lambda: KNN(k=0),
        lambda: KNN(temperature=0.0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ConfigError, match=r"\[head\] .* is not allowed: "):
        make()
