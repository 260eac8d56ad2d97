import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import TinyBackbone, make_tiny_trainer
from tlkit import (
    ConfigError,
    Registry,
    RunFolderError,
    TestTimeAugmentation,
    TlkitError,
    UnknownPluginError,
    WeightsError,
)
from tlkit.builtin.engines.tensorflow import TensorFlow
from tlkit.changed_values import changed_settings
from tlkit.compare.grid import config_digest
from tlkit.config.building import build_resumed, build_trainer
from tlkit.config.reading import override, read, read_config
from tlkit.ray_cluster import RayCluster
from tlkit.run_folder import config_text


@pytest.fixture(scope="module")
def registry():
    return Registry(entry_points=False)


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "run.toml").write_text(text)
        return str(tmp_path / "run.toml")

    return write


@pytest.mark.parametrize("name", ["classic", "cifar10", "quickstart"])
def test_recipes_are_valid(registry, name):
    trainer = build_trainer(name, registry=registry)
    assert trainer.name == name


def test_classic_is_the_exercise(registry):
    trainer = build_trainer("classic", registry=registry)
    assert trainer.validation == "test"
    assert trainer.save == ("keras", "h5")
    assert trainer.backbone.options == {
        "image_size": 32, "weights": "imagenet", "preprocessing": "unit", "alpha": 1.0
    }  # fmt: skip
    assert trainer.head.options == {"units": 128, "dropout": 0.3}
    assert (trainer.workflow.epochs, trainer.workflow.batch_size) == (5, 32)


def test_the_resolved_config_runs_again_unchanged(registry, write):
    trainer = build_trainer("classic", ["run.seed=3"], registry=registry)
    again = build_trainer(write(config_text(trainer.config)), registry=registry)
    assert again.config == trainer.config


def test_calibrate_is_a_key_of_run(registry, write):
    text = "[dataset]\nname = 'digits'\n[run]\ncalibrate = true"
    assert build_trainer(write(text), registry=registry).calibrate
    assert not build_trainer("cifar10", registry=registry).calibrate
    # Whether the data set brings validation images, so that it is allowed, shows when it is loaded.
    assert build_trainer("classic", ["run.calibrate=true"], registry=registry).calibrate
    with pytest.raises(ConfigError, match=r"Wrong value for 'run.calibrate'"):
        build_trainer("cifar10", ["run.calibrate=1"], registry=registry)


def test_start_from_and_old_classes_are_keys_of_run(registry, write, tmp_path):
    text = '[run]\nstart_from = "runs/a"\nold_classes = "drop"\n[dataset]\nname = "digits"\n'
    trainer = build_trainer(write(text), registry=registry)
    # Whole, so that the saved config means the same run from any folder.
    assert trainer.config["run"]["start_from"] == str(Path("runs/a").absolute())
    assert trainer.config["run"]["old_classes"] == "drop"
    other = build_trainer(write(text), start_from=tmp_path, registry=registry)
    assert other.start_from == tmp_path


def test_without_a_recipe_the_config_is_that_of_the_run_to_start_from(registry, tmp_path):
    folder = make_tiny_trainer(tmp_path).run().folder
    text = config_text(build_trainer("quickstart", registry=registry).config)
    (folder / "config.toml").write_text(text)
    trainer = build_trainer(None, ["workflow.epochs=3"], start_from=folder, registry=registry)
    assert (trainer.workflow.epochs, trainer.start_from) == (3, folder)
    assert trainer.backbone.options["alpha"] == 0.35
    with pytest.raises(ConfigError, match=r"Give a recipe \(.*tlkit run --from RUN"):
        build_trainer(None, registry=registry)
    (folder / "run.json").unlink()
    with pytest.raises(RunFolderError, match="tlkit resume"):
        build_trainer(None, start_from=folder, registry=registry)


def test_test_images_is_a_key_of_run(registry):
    assert build_trainer("cifar10", registry=registry).test_images
    without = build_trainer("cifar10", ["run.test_images=false"], registry=registry)
    assert not without.test_images
    assert without.config["run"]["test_images"] is False


def test_left_out_tables_name_the_defaults(registry, write):
    trainer = build_trainer(write("[dataset]\nname = 'digits'"), registry=registry)
    assert trainer.config["backbone"]["name"] == "mobilenet_v2"
    assert [item.name for item in trainer.reporters] == ["plots", "files", "rich"]


def test_a_table_without_a_name_is_of_the_default_plugin(registry, write):
    text = "[dataset]\nname = 'digits'\n[workflow]\nepochs = 7\n[head]\nunits = 5"
    trainer = build_trainer(write(text), ["backbone.alpha=0.5"], registry=registry)
    assert trainer.config["workflow"]["name"] == "freeze_and_train"
    assert trainer.workflow.epochs == 7
    assert trainer.config["head"] == {"name": "dense", "units": 5, "dropout": 0.3}
    assert trainer.backbone.options["alpha"] == 0.5


def test_test_time_augmentation_is_a_table(registry, write):
    text = "[dataset]\nname = 'digits'\n[test_time_augmentation]\nmirror = true\nscales = [0.8]"
    trainer = build_trainer(write(text), registry=registry)
    assert trainer.test_time_augmentation == TestTimeAugmentation(True, (0.8,))
    again = build_trainer(write(config_text(trainer.config)), registry=registry)
    assert again.test_time_augmentation == trainer.test_time_augmentation


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset = 3", "Wrong value for 'dataset'"),
        ("", "The config is empty: say what to train on, such as\n[dataset]\nname = "),
        ("[head]", "The table [dataset] is missing: say what to train on"),
        ("[heads]\nname = 'dense'", "Unknown table [heads]. Did you mean 'head'?"),
        ("epochs = 5", "Unknown key 'epochs' outside of the tables. It is a key of [workflow]."),
        (
            "dataset = 'digits'\n[head]\nepochs = 5",
            "Unknown key 'epochs' for head 'dense'. It is a key of [workflow].\nAllowed keys here",
        ),
        ("dataset = 'digits'\n[run]\nsave = 'h5'", 'As a list: save = ["h5"]'),
        (
            "dataset = 'digits'\n[head]\nname = 'mlp'\nunits = 5",
            "As a list: units = [5]",
        ),
        ("dataset = 3", "received 3. Allowed: the name of a plugin, or a table."),
        ('dataset = "folder"', "Missing key 'path' for dataset 'folder': text in quotes.\npath: "),
        (
            "[run]\nhead = 'dense'",
            "in [run]. It is a table of its own: write it above [run], or as",
        ),
        ("[run]\ndtype = 'float16'", "Unknown key 'dtype' in [run]. It is a key of [features]."),
        (
            "[reporters]\nname = 'rich'\n[dataset]\nname = 'digits'",
            "Write it in double brackets: [[reporters]].",
        ),
        ("[run]\nname = 'a'\n[head]\n[run]\n", "[run] stands in line 1 already: make them one."),
        ("image_size = 96\n[dataset]\nname = 'digits'", "key 'image_size' outside of the tables"),
        ("image_size = 96\n[dataset]\nname = 'digits'", "It is a key of [backbone].\nAllowed: run"),
        ("[run]\nepochs = 3\n[dataset]\nname = 'digits'", "in [run]. It is a key of [workflow]."),
        ("[dataset]\npath = 'x'", "[dataset] has no name: say which plugin it means.\n"),
        ("[dataset.digits]\n", 'Write [dataset] and name = "digits" in place of [dataset.digits].'),
        ("[[dataset]]\nname = 'digits'", "Write it in single brackets: [dataset]."),
        ("[dataset]\ntype = 'digits'", 'means. Did you mean name = "digits" for type?'),
        (
            "[dataset]\nname = 3",
            "Wrong value for 'dataset.name': received 3. Allowed: text in quotes.",
        ),
        (
            "reporters = [1]\n[dataset]\nname = 'digits'",
            "Wrong value for 'reporters': received [1]. Allowed: a list of names, or of tables",
        ),
        (
            "[dataset]\nname = 'digits'\n[compare]\nheads = [{k = 5}]",
            "The table [compare.heads] has no name",
        ),
        (
            "[dataset]\nname = 'digits'\n[compare]\nfew_shot = ['few']",
            "'compare.few_shot': received ['few']. Allowed: a list, each a whole number or 'all'.",
        ),
        (
            "[dataset]\nname = 'digits'\n[run]\nfew_shot = 'all'",
            "'run.few_shot': received 'all'. Allowed: a whole number. Train on so many images "
            "of each class only; 0 for all.",
        ),
        (
            "[dataset]\nname = 'digits'\n[run]\nvalidation = 'tset'",
            "'run.validation': received 'tset'. Allowed: a number or 'test'. Share of the",
        ),
        (
            "[dataset]\nname = 'digits'\n[run]\nsave = 'pb'",
            "'run.save': received 'pb'. Allowed: a list, each 'keras' or 'h5'. Formats",
        ),
        ("[dataset]\nname = 'digits'\n[run]\nsede = 1", "Did you mean 'seed'?"),
        ("[dataset]\nname = 'digits'\n[run]\nseed = '1'", "Wrong value for 'run.seed'"),
        ("[dataset]\nname = 'digits'\n[run]\nname = '/'", "[run] name = '/'"),
        (
            "[dataset]\nname = 'digits'\n[run]\nvalidation = 2",
            "[run] validation = 2 is not allowed: a share",
        ),
        (
            "[dataset]\nname = 'digits'\n[test_time_augmentation]\nmiror = true",
            "Did you mean 'mirror'?",
        ),
        (
            "[dataset]\nname = 'digits'\n[test_time_augmentation]\nscales = [3.0]",
            "scales = [3.0] is not allowed",
        ),
        ("[dataset]\nname = 'digits'\n[hed]\nname = 'dense'", "Did you mean 'head'?"),
        ("[dataset]\nname = 'digits'\n[head]\nname = 'dense'\nunit = 1", "Did you mean 'units'?"),
        ("[dataset]\nname = 'digits'\n[head]\nname = 'mlp'\nunits = [0]", "widths of 1 or more"),
        (
            "[dataset]\nname = 'digits'\n[workflow]\nname = 'freeze_and_train'\nepochs = 0",
            "1 or mo",
        ),
        ("[dataset]\nname = 'digits'\n[backbone]\nname = 'xception'\nimage_size = 32", "71 pixels"),
        ("[dataset", "no valid TOML"),
    ],
)
def test_bad_config_names_file_key_and_what_is_allowed(registry, write, text, message):
    with pytest.raises(ConfigError) as caught:
        build_trainer(write(text), registry=registry)
    assert message in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_unknown_plugin_gives_the_nearest(registry):
    with pytest.raises(UnknownPluginError, match="Did you mean 'resnet50_v2'") as caught:
        build_trainer("cifar10", ["backbone.name=resnet50_v3"], registry=registry)
    place = "(received: recipe cifar10 with --set backbone.name=resnet50_v3)"
    assert str(caught.value).endswith(place)


@pytest.mark.parametrize(
    ("table", "error"),
    [
        ('[workflow]\nname = "of_my_own"', UnknownPluginError),
        ('[workflow]\nname = "freeze_and_train"\nepochs = "<some.Object>"', ConfigError),
    ],
)
def test_a_run_that_only_python_code_can_resume_says_so(tmp_path, table, error):
    (tmp_path / "config.toml").write_text(f'[dataset]\nname = "digits"\n{table}\n')
    with pytest.raises(error) as caught:
        build_resumed(tmp_path)
    (note,) = caught.value.__notes__
    assert note.endswith(f"Trainer(...).resume({str(tmp_path)!r})")


def test_a_mistake_in_the_config_of_a_resumed_run_is_told_alone(tmp_path):
    (tmp_path / "config.toml").write_text('[dataset]\nname = "digits"\n[run]\nseeds = 1\n')
    with pytest.raises(ConfigError, match="Unknown key 'seeds'") as caught:
        build_resumed(tmp_path)
    assert not getattr(caught.value, "__notes__", [])


def test_what_is_no_config_is_told_with_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "other.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is no text in UTF-8"):
        read("other.toml")
    with pytest.raises(ConfigError, match=r"Looked in .*: it has other\.toml\."):
        read("mine.toml")
    for name in ("x" * 300, "a\0b", "x" * 300 + ".toml"):
        with pytest.raises(ConfigError):
            read(name)
    for folder in ("pictures", "./pictures"):
        with pytest.raises(ConfigError, match=r"It is a folder.*dataset.path=pictures"):
            read(folder)


@pytest.mark.parametrize("assignment", ["head.units=[12", "reporters=[rich]", "a.b={c"])
def test_a_list_that_is_none_is_told_with_one_that_is(assignment):
    with pytest.raises(ConfigError, match="is no list or table of TOML") as caught:
        override({}, assignment)
    assert """--set 'reporters=["rich"]'""" in str(caught.value)


def test_unknown_recipe_and_missing_file():
    with pytest.raises(ConfigError, match="Did you mean 'classic'"):
        read("clasic")
    with pytest.raises(ConfigError, match="No such file"):
        read("./missing.toml")


def test_another_plugin_by_set_drops_keys_that_are_not_its_own_and_says_so(registry):
    trainer = build_trainer("cifar10", ["head.name=mlp"], registry=registry)
    assert trainer.head.options["units"] == [256]
    assert trainer.notes == [
        "[head] units = 128 left out: units of mlp is a list, each a whole number."
    ]
    trainer = build_trainer("cifar10", ["backbone.name=resnet50_v2"], registry=registry)
    assert trainer.backbone.image_size == 96
    assert trainer.notes == []


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["dataset.path=x.npz"], "cifar10"),
        (["dataset.name=cifar10"], "cifar10"),
        (["backbone.name=resnet50_v2"], "cifar10"),
        (["dataset.name=digits"], "digits"),
        (["dataset.name=digits", "run.name=mine"], "mine"),
        (["run . name=cifar10", "dataset.name=digits"], "cifar10"),
    ],
)
def test_a_recipe_on_another_data_set_is_called_after_it(registry, overrides, name):
    assert build_trainer("cifar10", overrides, registry=registry).name == name
    assert read_config("cifar10", overrides).run.name == name


def test_the_name_of_a_file_stays(registry, write):
    path = write("[run]\nname = 'mine'\n[dataset]\nname = 'cifar10'")
    trainer = build_trainer(path, ["dataset.name=digits"], registry=registry)
    assert trainer.name == "mine"


def test_keys_set_by_hand_are_never_dropped(registry):
    with pytest.raises(ConfigError, match="Unknown key 'units'"):
        build_trainer("cifar10", ["head.name=linear", "head.units=64"], registry=registry)
    with pytest.raises(ConfigError, match="Unknown key 'units'"):  # the recipe's own value
        build_trainer("cifar10", ["head.name=linear", "head.units=128"], registry=registry)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("[1, 2]", [1, 2]), ("true", True), ("plain text", "plain text"), ("'3'", "3")],
)
def test_values_of_set_are_toml_or_text(text, value):
    tables = {}
    override(tables, f"a.b={text}")
    assert tables == {"a": {"b": value}}


def test_reporters_may_be_set_as_names(registry):
    trainer = build_trainer("cifar10", ['reporters=["files"]'], registry=registry)
    assert [item.name for item in trainer.reporters] == ["files"]


def test_a_plugin_may_be_set_by_its_name_alone(registry, write):
    trainer = build_trainer("cifar10", ["head=mlp"], registry=registry)
    assert trainer.head.options["units"] == [256]
    assert trainer.notes == [
        "[head] units = 128 left out: units of mlp is a list, each a whole number."
    ]
    text = 'dataset = "digits"\nhead = "linear"\nworkflow = "freeze_and_train"\n'
    trainer = build_trainer(write(text), registry=registry)
    assert trainer.config["head"]["name"] == "linear"
    assert trainer.config["dataset"]["name"] == "digits"


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("epochs=3", "--set workflow.epochs=3"),
        ("seed=1", "--set run.seed=1 or --set features.seed=1"),
    ],
)
def test_a_set_without_its_table_is_told_with_it(registry, assignment, told):
    with pytest.raises(ConfigError) as caught:
        build_trainer("cifar10", [assignment], registry=registry)
    assert f"Did you mean {told}? Allowed: TABLE.KEY=VALUE" in str(caught.value)


@pytest.mark.parametrize("assignment", ["a", "a.b", "a=1", "a.b.c=1", ".b=1", "=", ""])
def test_a_bad_set_shows_the_form(assignment):
    with pytest.raises(ConfigError, match=r"TABLE\.KEY=VALUE"):
        override({}, assignment)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_set_is_taken_or_refused_with_a_tlkit_error(registry, assignment):
    try:
        build_trainer("classic", [assignment], registry=registry)
    except TlkitError as error:
        assert str(error)


def test_choosing_the_engine_automatically_leaves_out_the_files_precision(registry, write):
    path = write(
        '[dataset]\nname = "digits"\n[engine]\nname = "openvino"\nprecision = "bfloat16"\n'
    )
    trainer = build_trainer(path, ["engine=auto"], registry=registry)
    assert trainer.engine is None
    trainer = build_trainer(path, ["engine.name=auto"], registry=registry)
    assert trainer.engine is None
    assert "precision = 'bfloat16' left out" in trainer.notes[0]


def test_a_cluster_is_named_by_a_table_within_the_engines(registry, write, tmp_path):
    path = write(
        '[dataset]\nname = "digits"\n[engine]\nname = "openvino"\ndistribute = "ray"\n'
        'ray.address = "auto"\n[features]\nstore = "s3://bucket/features/"\n'
    )
    changes = ["engine.ray.workers=4", "engine.ray.address=head:6379"]
    trainer = build_trainer(path, changes, registry=registry)
    assert trainer.engine.name == "openvino"
    assert (trainer.cluster.address, trainer.cluster.workers) == ("head:6379", 4)
    assert trainer.store.shared == "s3://bucket/features"
    saved = config_text(trainer.config)
    again = build_trainer(write(saved), registry=registry)
    assert config_text(again.config) == saved
    plain = build_trainer(path, ["engine.distribute=none", "features.store="], registry=registry)
    assert plain.cluster is None
    assert plain.config["engine"] == {"name": "openvino", "precision": "float32"}
    assert changed_settings(saved, config_text(plain.config)) == []
    assert config_digest(again.config) == config_digest(plain.config)
    kept = build_trainer(path, ["engine.name=auto"], registry=registry)
    assert kept.cluster == trainer.cluster


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("engine.distribute=dask", "Wrong value for 'engine.distribute': received 'dask'"),
        ("engine.ray.adress=auto", r"Unknown key 'adress' in \[engine.ray\].*mean 'address'"),
        ("engine.ray.workers=two", "Wrong value for 'engine.ray.workers': received 'two'"),
        ("engine.ray=auto", "Wrong value for 'engine.ray': received 'auto'. Allowed: a table"),
        ("engine.ray.workers=2", "distribute = 'ray' is not"),
        ("features.store=1", "Wrong value for 'features.store': received 1"),
        ("features.store=s3://a:b@c/d", "credentials"),
    ],
)
def test_a_bad_cluster_or_store_is_one_error(registry, setting, message):
    with pytest.raises(TlkitError, match=message):
        build_trainer("classic", [setting], registry=registry)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("engine.ray.address=head", r"ray.address = 'head' is not allowed.*'auto'"),
        ("engine.ray.address=ray://head:10001", r"is not allowed: .*with ray.address = 'auto'"),
        ("engine.ray.workers=-1", "ray.workers = -1 is not allowed: 1 or more"),
        ("engine.ray.cpus_per_worker=-1", "ray.cpus_per_worker = -1 is not allowed"),
    ],
)
def test_values_of_a_cluster_are_checked(registry, setting, message):
    with pytest.raises(ConfigError, match=message):
        build_trainer("classic", ["engine.distribute=ray", setting], registry=registry)


def test_a_cluster_in_python_is_a_mapping_of_the_same_keys(tmp_path):
    engine = {"name": TensorFlow(), "distribute": "ray", "ray": {"address": "head:6379"}}
    trainer = make_tiny_trainer(tmp_path, engine=engine)
    assert trainer.engine is engine["name"]
    assert trainer.cluster == RayCluster("head:6379")
    for wrong in ({"name": "auto", "distribute": "dask"}, {"name": "auto", "ray": {"adress": 1}}):
        with pytest.raises(ConfigError, match=r"\[engine"):
            make_tiny_trainer(tmp_path, engine=wrong)


def test_the_docs_list_every_environment_variable():
    root = Path(__file__).parents[1]
    read = {
        name
        for file in (root / "tlkit").rglob("*.py")
        for name in re.findall(r'"(TLKIT_[A-Z_]+)"', file.read_text(encoding="utf-8"))
    }
    page = (root / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    table = page.partition("## Environment variables")[2].partition("## ")[0]
    assert "TLKIT_PLUGINS" in read
    assert sorted(read) == sorted(set(re.findall(r"`(TLKIT_[A-Z_]+)`", table)))


def test_weights_that_the_recipe_names_and_the_backbone_does_not_know_are_told(registry):
    class Own(TinyBackbone):
        name = "own"

        def __init__(self, image_size: int = 16, weights: str = "random") -> None:
            if weights != "random":
                raise WeightsError(f"Unknown weights '{weights}'.")
            super().__init__(image_size, weights)

    own = Registry(entry_points=False)
    own.register(Own)
    with pytest.raises(WeightsError, match=r"'cifar10'.\n\(received: recipe quickstart"):
        build_trainer("quickstart", ["backbone.name=own"], registry=own)
