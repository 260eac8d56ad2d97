import pytest

from tlkit import ConfigError, UnknownPluginError
from tlkit.compare.grid import config_digest, plan
from tlkit.features import FeatureStore


@pytest.fixture
def make_plan(config, registry, tmp_path):
    def make(backbones=(), heads=(), seeds=(), overrides=(), few_shot=()):
        return plan(
            str(config), backbones, heads, few_shot, seeds, overrides,
            runs=tmp_path / "runs", store=FeatureStore(tmp_path / "features"), registry=registry,
        )  # fmt: skip

    return make


def names(grid):
    return [(cell.backbone, cell.head, cell.seed) for cell in grid.cells]


def test_the_cells_of_a_backbone_follow_one_another(make_plan):
    assert names(make_plan(["tiny", "wider"], ["linear", "dense"], [0, 1])) == [
        (backbone, head, seed)
        for backbone in ("tiny", "wider")
        for seed in (0, 1)
        for head in ("linear", "dense")
    ]


def test_what_is_not_given_comes_from_the_config(make_plan):
    assert names(make_plan(heads=["linear", "mlp"])) == [("tiny", "linear", 0), ("tiny", "mlp", 0)]
    assert names(make_plan(seeds=[3, 4])) == [("tiny", "dense", 3), ("tiny", "dense", 4)]


def test_the_compare_table_gives_lists_with_options(make_plan, config):
    config.write_text(
        config.read_text()
        + '[compare]\nbackbones = ["tiny", { name = "wider", image_size = 24 }]\n'
        + 'heads = ["linear", { name = "mlp", units = [8, 4] }]\nseeds = [7]\n'
    )
    grid = make_plan()
    assert [name[:2] for name in names(grid)] == [
        ("tiny", "linear"), ("tiny", "mlp units=[8, 4]"),
        ("wider image_size=24", "linear"), ("wider image_size=24", "mlp units=[8, 4]"),
    ]  # fmt: skip
    trainer = grid.trainer(grid.cells[3])
    assert trainer.seed == 7
    assert trainer.backbone.options["image_size"] == 24
    assert trainer.head.options["units"] == [8, 4]
    # What is given by hand goes before the table.
    assert names(make_plan(backbones=["tiny"], seeds=[1]))[0][2] == 1


def test_the_compare_table_is_checked_and_run_passes_it_over(make_plan, config, registry):
    from tlkit.config.building import build_trainer

    text = config.read_text()
    config.write_text(text + '[compare]\nheads = ["linear", "mlp"]\n')
    assert build_trainer(str(config), registry=registry).head.name == "dense"
    config.write_text(text + '[compare]\nhead = ["linear", "mlp"]\n')
    with pytest.raises(ConfigError, match="Did you mean 'heads'"):
        make_plan()


def test_few_shot_is_a_dimension_of_the_grid(make_plan):
    grid = make_plan(heads=["linear", "dense"], seeds=[0, 1], few_shot=[1, 5, "all", 0, 5])
    assert [(cell.seed, cell.head, cell.few_shot) for cell in grid.cells] == [
        (seed, head, count)
        for seed in (0, 1)
        for head in ("linear", "dense")
        for count in (1, 5, 0)
    ]
    assert len({cell.digest for cell in grid.cells}) == 12
    trainers = [grid.trainer(cell) for cell in grid.cells[:3]]
    assert [trainer.few_shot for trainer in trainers] == [1, 5, 0]
    assert [trainer.name for trainer in trainers] == [
        "tiny-linear-few1-seed0", "tiny-linear-few5-seed0", "tiny-linear-seed0"
    ]  # fmt: skip
    assert make_plan(heads=["linear"]).cells[0].digest == grid.cells[2].digest


def test_few_shot_comes_from_the_compare_table_else_from_run(make_plan, config):
    grid = make_plan(seeds=[0, 1], overrides=["run.few_shot=3"])
    assert [cell.few_shot for cell in grid.cells] == [3, 3]
    config.write_text(config.read_text() + '[compare]\nfew_shot = [1, 2, "all"]\n')
    assert [cell.few_shot for cell in make_plan().cells] == [1, 2, 0]
    assert [cell.few_shot for cell in make_plan(few_shot=[7, 8]).cells] == [7, 8]
    config.write_text(config.read_text().replace('"all"', '"none"'))
    with pytest.raises(ConfigError, match=r"compare\.few_shot"):
        make_plan()


def test_keys_that_another_head_does_not_take_are_left_out(make_plan):
    grid = make_plan(heads=["linear", "dense"])
    assert "units" not in grid.trainer(grid.cells[0]).head.options
    assert grid.trainer(grid.cells[1]).head.options["units"] == 8


def test_equal_cells_are_run_once(make_plan):
    assert len(make_plan(heads=["dense", {"name": "dense", "units": 8}, "linear"]).cells) == 2


def test_the_digest_is_of_what_the_result_depends_on(make_plan):
    grid = make_plan(heads=["dense", "linear"])
    config = grid.trainer(grid.cells[0]).config
    assert config_digest(config) == grid.cells[0].digest
    other_name = {**config, "run": {**config["run"], "name": "other"}, "reporters": []}
    assert config_digest(other_name) == grid.cells[0].digest
    no_images = {**config, "run": {**config["run"], "test_images": False}}
    assert config_digest(no_images) == grid.cells[0].digest
    other_seed = {**config, "run": {**config["run"], "seed": 1}}
    assert config_digest(other_seed) != grid.cells[0].digest
    of_before = {key: value for key, value in config.items() if key != "test_time_augmentation"}
    assert config_digest(of_before) == grid.cells[0].digest
    looks = {**config, "test_time_augmentation": {"mirror": True, "scales": []}}
    assert config_digest(looks) != grid.cells[0].digest


def test_a_cell_that_does_not_take_its_options_fails_alone(make_plan):
    grid = make_plan(heads=["linear", "dense"], overrides=["head.units=4"])
    assert "Unknown key 'units'" in grid.cells[0].error
    assert grid.cells[1].error is None


def test_bad_input_is_refused_before_any_work(make_plan):
    with pytest.raises(UnknownPluginError, match="Did you mean 'linear'"):
        make_plan(heads=["linaer", "dense"])
    with pytest.raises(ConfigError, match="Nothing to compare"):
        make_plan()
    with pytest.raises(ConfigError, match="No cell of the grid is valid"):
        make_plan(heads=["linear", "mlp"], overrides=["head.unit=4"])
    for item in ({"units": 3}, 3, "", {"name": "dense", "units": object()}):
        with pytest.raises(ConfigError, match="Cannot use"):
            make_plan(heads=["linear", item])
    for item in (-1, 1.0, True, "few", None):
        with pytest.raises(ConfigError, match=r"few_shot .* is not allowed: a number of images"):
            make_plan(few_shot=[1, item])
    with pytest.raises(ConfigError, match="several --few-shot"):
        make_plan(few_shot=[1])
    with pytest.raises(ConfigError, match="seed = -1"):
        make_plan(seeds=[-1, -2])
