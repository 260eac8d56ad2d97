from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import make_tiny_trainer
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.errors import ConfigError
from tlkit.replicas import Replicas
from tlkit.worker_cluster import WorkerCluster


def make_replicas(workers=1, devices=2, index=0):
    cluster = WorkerCluster(tuple(f"host:{port + 1}" for port in range(workers)), index)
    return Replicas(SimpleNamespace(num_replicas_in_sync=workers * devices), cluster)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(2, 5), st.integers(1, 3))
def test_every_row_belongs_to_a_worker(count, batch_size, workers, devices):
    owned = [
        make_replicas(workers, devices, index).own_rows(count, batch_size)
        for index in range(workers)
    ]
    assert np.any(owned, axis=0).all()
    # Only a batch with fewer rows than devices is read by several workers.
    whole = count // batch_size * batch_size
    if batch_size >= workers * devices:
        assert (np.sum(owned, axis=0)[:whole] == 1).all()


def test_a_batch_has_an_image_for_each_device():
    make_replicas(2, 2).check_batch_size(4)
    with pytest.raises(ConfigError, match="3 images cannot be shared by 4 devices"):
        make_replicas(2, 2).check_batch_size(3)


def test_layers_that_normalise_by_the_batch_are_refused():
    import keras

    layer = keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((4,)), keras.Sequential([layer])])
    with pytest.raises(ConfigError, match="cannot train the layer 'norm'"):
        Replicas.check_layers(model)
    layer.trainable = False
    Replicas.check_layers(model)


def test_a_trainer_shares_fine_tuning_only(tmp_path):
    with pytest.raises(ConfigError, match="trains the head alone"):
        make_tiny_trainer(tmp_path, distribute="mirrored")
    with pytest.raises(ConfigError, match="'none', 'mirrored', 'multi_worker'"):
        make_tiny_trainer(tmp_path, distribute="horovod")


def test_one_device_is_of_no_use(tmp_path):
    workflow = FreezeAndTrain(epochs=1, fine_tune_epochs=1)
    trainer = make_tiny_trainer(tmp_path, distribute="mirrored", workflow=workflow)
    assert trainer.config["run"]["distribute"] == "mirrored"
    with pytest.raises(ConfigError, match="TensorFlow sees no GPU here"):
        trainer.run()
    assert not list((tmp_path / "runs").glob("*"))
