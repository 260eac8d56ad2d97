"""Extraction on a real Ray cluster of several nodes on this machine."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.tiny import CLASS_NAMES, TinyBackbone, make_images, make_tiny_trainer
from tlkit import ClusterError, DatasetSource, ImageData, PluginError, Split, ray_extraction, shards
from tlkit.augmentation import Augmentation
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.builtin.heads.linear import Linear
from tlkit.encoded_pictures import PictureFiles
from tlkit.engine_choice import EngineChooser
from tlkit.errors import DataError
from tlkit.events import Events
from tlkit.feature_source import ExtractionLog, FeatureSource
from tlkit.features import FeatureStore
from tlkit.fingerprint import digest_images, digest_model
from tlkit.model import assemble
from tlkit.ray_cluster import RayCluster
from tlkit.ray_extraction import RayExtraction
from tlkit.resizing import make_resizer
from tlkit.run_folder import load_run
from tlkit.shared_shards import SharedShards
from tlkit.test_time_augmentation import FixedView

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

SHARD_ROWS = 8
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster(_s3_server):
    """Two nodes of one processor each, in processes of their own."""
    from tests.s3_server import make_bucket

    # Engines of this module travel by value: no package brings them.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        RayExtraction(RayCluster())  # sets what Ray reads when it starts
        make_bucket(_s3_server, patch)  # nodes find the server by their own environment
        health = {
            "health_check_initial_delay_ms": 1000,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 4,
        }
        cluster = Cluster(
            initialize_head=True,
            head_node_args={**NODE, "include_dashboard": False, "_system_config": health},
        )
        try:
            cluster.add_node(**NODE)
            yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture
def extraction(cluster, monkeypatch):
    """What computes features on the cluster, in shards of eight images."""
    monkeypatch.setattr(shards, "SHARD_BYTES", SHARD_ROWS * 16 * 4)
    monkeypatch.setattr(ray_extraction, "LEAST_IMAGES", SHARD_ROWS)
    found = RayExtraction(RayCluster(cluster.address))
    yield found
    found.close()
    assert not ray.is_initialized()


class Watched(TensorFlow):
    """TensorFlow at a leisurely pace; it notes every batch, and fails on workers if asked to."""

    name: ClassVar[str] = "watched"

    def __init__(self, log: str, seconds: float = 0.0, fails: bool = False) -> None:
        self.log, self.seconds, self.fails = log, seconds, fails
        self.driver = os.getpid()

    def compile(self, model):
        forward = super().compile(model)

        def run(pixels):
            with open(self.log, "a") as file:  # noqa: PTH123
                file.write(f"{os.getpid()} {len(pixels)}\n")
            if os.getpid() != self.driver:
                if self.fails:
                    raise ValueError("out of order")
                time.sleep(self.seconds)
            return forward(pixels)

        return run


def make_source(folder, extraction=None, engine=None, shared="", **changes):
    model = assemble(TinyBackbone(), Linear(), 3)
    for layer in model.features.layers:  # random weights would differ from model to model
        for number, weight in enumerate(layer.weights):
            generator = np.random.default_rng(number)
            weight.assign(generator.uniform(0.1, 0.3, weight.shape))
    backbone = TinyBackbone()
    return FeatureSource(
        model.features,
        digest_model(model, backbone, Linear()),
        backbone,
        FeatureStore(folder / "features", shared),
        EngineChooser(engine, [TensorFlow()], folder / "engines"),
        Events([]),
        make_resizer(model.resize),
        ExtractionLog(),
        Augmentation(),
        cluster=extraction,
        **changes,
    )


def split_of(count):
    return Split(*make_images(count, 3))


def get(source, split, *args):
    return source.get("train", split, digest_images(split.images), *args)


class Doubling(TinyBackbone):
    """A backbone with a layer of its own, as a plugin may bring it."""

    name: ClassVar[str] = "doubling"

    def build(self):
        import keras

        @keras.saving.register_keras_serializable("tests")
        class Twice(keras.layers.Layer):
            def call(self, maps):
                return maps * 2 + 1

        network = super().build()
        return keras.Model(network.inputs, Twice()(network.outputs[0]))


class Pictures(DatasetSource):
    """Encoded pictures of several sizes in a folder."""

    name: ClassVar[str] = "pictures"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def load(self, seed):
        splits = []
        for name, count in (("train", 30), ("test", 12)):
            images, labels = make_images(count, len(name), size=20)
            folder = Path(self.folder) / name
            folder.mkdir(parents=True, exist_ok=True)
            paths = [folder / f"{number}.png" for number in range(count)]
            for number, path in enumerate(paths):
                Image.fromarray(images[number, : 20 - number % 3]).save(path)
            splits.append(Split(PictureFiles(paths), labels))
        return ImageData(splits[0], splits[1], CLASS_NAMES)


def test_a_run_on_the_cluster_is_that_of_one_machine(cluster, tmp_path, capfd):
    settings = {"backbone": Doubling(), "dataset": Pictures(str(tmp_path / "pictures"))}
    plain = make_tiny_trainer(tmp_path / "plain", **settings).run()
    capfd.readouterr()
    engine = {"name": "auto", "distribute": "ray", "ray": {"address": cluster.address}}
    found = make_tiny_trainer(tmp_path / "ray", engine=engine, **settings).run()
    assert capfd.readouterr() == ("", "")
    assert not ray.is_initialized()
    keys = sorted(path.name for path in (tmp_path / "plain" / "features").iterdir())
    assert keys == sorted(path.name for path in (tmp_path / "ray" / "features").iterdir())
    for key in keys:
        expected, features = (
            np.load(tmp_path / name / "features" / key / "features.npy")
            for name in ("plain", "ray")
        )
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert found.fingerprints == plain.fingerprints
    assert found.test.accuracy == plain.test.accuracy
    assert found.warnings == plain.warnings
    assert found.feature_cache == {"train": "extracted", "test": "extracted"}
    for item in load_run(found.folder).extractions:
        assert (
            sum(item.workers.values()) == item.num_images == (30 if item.split == "train" else 12)
        )
        assert set(item.stage_seconds) == {"read", "resize", "forward", "write"}
    assert load_run(found.folder).info.config["engine"]["distribute"] == "ray"


@pytest.mark.slow
def test_a_killed_worker_and_a_removed_node_cost_their_shards_only(cluster, extraction, tmp_path):
    count = 24 * SHARD_ROWS
    split = split_of(count)
    expected = get(make_source(tmp_path / "plain"), split)
    node = cluster.add_node(**NODE)
    log = tmp_path / "batches"

    def computed():
        """The process that computed each shard, in order of their beginning."""
        lines = [line.split() for line in log.read_text().splitlines()]
        return [int(pid) for pid, size in lines if int(size) == SHARD_ROWS]

    def kill():
        os.kill(computed()[-1], signal.SIGKILL)

    def remove():
        cluster.remove_node(node, allow_graceful=False)

    blows = [(count // 4, kill), (count // 2, remove)]

    def on_progress(name, place="", done=0, total=0, *args, **kwargs):
        if name != "on_extract_progress":
            return
        if blows and done >= blows[0][0]:
            blows.pop(0)[1]()
        elif not blows and count * 3 // 4 <= done < total and not interrupts:
            interrupts.append(done)
            raise KeyboardInterrupt

    interrupts = []
    source = make_source(tmp_path / "ray", extraction, Watched(str(log), seconds=0.4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source.events, "emit", on_progress)
        with pytest.raises(KeyboardInterrupt):
            get(source, split)
        found = get(source, split)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert interrupts
    (key,) = source.store.folder.iterdir()
    assert (tmp_path / "plain" / "features" / key.name).is_dir()
    print(f"{len(computed())} shards were computed for 24")
    # Each of three workers has two groups at a time: for the kill, the node and the interrupt.
    assert 24 <= len(computed()) <= 24 + 2 + 2 + 6


def test_views_go_to_a_store_in_s3_and_another_machine_computes_nothing(
    extraction, s3, tmp_path, monkeypatch
):
    split, wanted = split_of(64), (1, FixedView(mirrored=True))
    half = {"feature_type": "float16"}
    expected = get(make_source(tmp_path / "plain", **half), split, *wanted)
    store = f"{s3.url}/features"
    found = get(make_source(tmp_path / "one", extraction, shared=store, **half), split, *wanted)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    names = s3.keys()
    assert sum(name.endswith(".npy") for name in names) == 64 // (2 * SHARD_ROWS)
    other = make_source(tmp_path / "two", shared=store, **half)
    monkeypatch.setattr(FeatureSource, "_run_pipeline", None)
    np.testing.assert_array_equal(get(other, split, *wanted), found)
    assert other.log.feature_cache == {"train, view 1, mirrored": "stored"}


def test_what_an_engine_raises_on_a_worker_names_the_engine(extraction, tmp_path):
    engine = Watched(str(tmp_path / "log"), fails=True)
    source = make_source(tmp_path, extraction, engine)
    with pytest.raises(PluginError) as caught:
        get(source, split_of(64))
    message = str(caught.value)
    assert message.startswith(f"Engine 'watched' of the module {__name__} failed in what compile()")
    assert "ValueError: out of order" in message
    assert "Traceback" not in message


def test_a_picture_that_a_node_cannot_read_is_named_with_the_node(extraction, tmp_path):
    data = Pictures(str(tmp_path / "pictures")).load(0)
    source = make_source(tmp_path, extraction)
    digest = digest_images(data.train.images)
    data.train.images.paths[-1].unlink()
    with pytest.raises(DataError, match=r"29\.png: No such file or directory on node .+/"):
        source.get("train", data.train, digest)


def test_a_node_that_does_not_see_the_store_is_named(extraction, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def elsewhere(self):
        yield "marks/not-here"

    monkeypatch.setattr(SharedShards, "marked", elsewhere)
    with pytest.raises(ClusterError, match=r"Node .+/.* does not see .*\[features\] store"):
        get(make_source(tmp_path, extraction), split_of(32))


def test_a_cluster_that_cannot_be_reached_is_one_error(tmp_path):
    extraction = RayExtraction(RayCluster("127.0.0.1:1"))
    with pytest.raises(ClusterError, match=r"Cannot reach the Ray cluster 127\.0\.0\.1:1: Connec"):
        get(make_source(tmp_path, extraction), split_of(32))
