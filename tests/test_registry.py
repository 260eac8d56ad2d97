import logging
import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import tlkit
from tests.testing.broken import RIGHT
from tests.tiny import TinyBackbone
from tlkit import Head, Registry, UnknownPluginError, errors, hookimpl, hookspecs, registry
from tlkit.registry import HOOK_BY_KIND

PLUGINS_PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "plugins.md"


class FakeDistribution:
    def __init__(self, name):
        self.name = name


def make_point(monkeypatch, distribution, module, name="plugin"):
    module_name = f"fake_{distribution.replace('-', '_')}"
    if isinstance(module, types.ModuleType):
        monkeypatch.setitem(sys.modules, module_name, module)
    point = EntryPoint(name=name, value=module_name, group="tlkit")
    vars(point)["dist"] = FakeDistribution(distribution)
    return point


def make_module(plugin, hook="register_backbones"):
    module = types.ModuleType("fake")

    def implementation(register):
        register(plugin)

    implementation.__name__ = hook
    setattr(module, hook, hookimpl(implementation))
    return module


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.delenv("TLKIT_PLUGINS", raising=False)

    def install(*points):
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points))

    return install


def test_builtin_plugins_are_there():
    found = {(entry.kind, entry.name) for entry in Registry(entry_points=False).list()}
    expected = {
        ("backbone", "mobilenet_v2"),
        ("backbone", "resnet50_v2"),
        ("head", "dense"),
        ("head", "linear"),
        ("head", "mlp"),
        ("reporter", "rich"),
        ("reporter", "plots"),
        ("reporter", "files"),
        ("workflow", "freeze_and_train"),
        *(
            ("dataset", name)
            for name in ("cifar10", "cifar100", "fashion_mnist", "digits", "folder", "arrays")
        ),
    }
    assert expected <= found
    assert all(entry.plugin.summary() for entry in Registry(entry_points=False).list())


def test_an_entry_point_is_found_and_says_where_it_is_from(monkeypatch, installed):
    installed(make_point(monkeypatch, "tlkit-tiny", make_module(TinyBackbone)))
    entry = next(item for item in Registry().list("backbone") if item.name == "tiny")
    assert entry.distribution == "tlkit-tiny"


def test_two_distributions_with_one_entry_point_name_are_both_loaded(monkeypatch, installed):
    other = type("Other", (TinyBackbone,), {"name": "other"})
    installed(
        make_point(monkeypatch, "first", make_module(TinyBackbone)),
        make_point(monkeypatch, "second", make_module(other)),
    )
    assert {"tiny", "other"} <= {item.name for item in Registry().list("backbone")}


def test_a_broken_package_is_kept_and_the_others_load(monkeypatch, installed):
    installed(
        make_point(monkeypatch, "a-broken", None),
        make_point(monkeypatch, "b-good", make_module(TinyBackbone)),
    )
    found = Registry()
    assert [item.distribution for item in found.broken] == ["a-broken"]
    assert "ModuleNotFoundError" in found.broken[0].reason
    assert found.get("backbone", "tiny") is TinyBackbone
    with pytest.raises(UnknownPluginError, match="a-broken failed to load: ModuleNotFoundError"):
        found.get("backbone", "nothing")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (make_module(TinyBackbone, hook="register_backbone"), "register_backbone"),
        (types.ModuleType("empty"), "implements no tlkit hook"),
        (make_module(TinyBackbone, hook="register_heads"), "no head class"),
        (make_module(type("NoName", (TinyBackbone,), {"name": ""})), "has no name"),
        (make_module(type("Half", (Head,), {"name": "half"}), "register_heads"), "define build"),
        (make_module(int), "no backbone class"),
    ],
)
def test_what_is_wrong_with_a_package_is_named(monkeypatch, installed, module, reason):
    installed(make_point(monkeypatch, "odd", module))
    assert reason in Registry().broken[0].reason


def test_a_package_that_fails_half_way_registers_nothing(monkeypatch, installed):
    module = types.ModuleType("half")

    @hookimpl
    def register_backbones(register):
        register(TinyBackbone)
        raise RuntimeError("boom")

    module.register_backbones = register_backbones
    installed(make_point(monkeypatch, "half", module))
    found = Registry()
    assert "boom" in found.broken[0].reason
    assert "tiny" not in {item.name for item in found.list("backbone")}


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("boom"), MemoryError()])
def test_a_package_that_raises_when_its_hook_is_called_is_kept(monkeypatch, installed, error):
    module = types.ModuleType("exits")

    @hookimpl
    def register_backbones(register):
        raise error

    module.register_backbones = register_backbones
    installed(
        make_point(monkeypatch, "exits", module),
        make_point(monkeypatch, "good", make_module(TinyBackbone)),
    )
    found = Registry()
    assert [item.distribution for item in found.broken] == ["exits"]
    assert type(error).__name__ in found.broken[0].reason
    assert found.get("backbone", "tiny") is TinyBackbone


def install_file(tmp_path, monkeypatch, installed, text):
    """Install a package "rude" of one module with this text."""
    (tmp_path / "fake_rude.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fake_rude", raising=False)
    installed(make_point(monkeypatch, "rude", None))


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise SyntaxError('no')", "1 / 0"])
def test_a_package_that_ends_its_import_is_kept(tmp_path, monkeypatch, installed, ending):
    install_file(tmp_path, monkeypatch, installed, f"import sys\nprint('noise')\n{ending}\n")
    assert [item.distribution for item in Registry().broken] == ["rude"]


def test_ctrl_c_while_packages_are_loaded_passes(tmp_path, monkeypatch, installed):
    install_file(tmp_path, monkeypatch, installed, "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        Registry()


def test_what_a_package_prints_goes_to_standard_error(tmp_path, monkeypatch, installed, capsys):
    install_file(tmp_path, monkeypatch, installed, "print('noise')\n")
    Registry()
    assert capsys.readouterr() == ("", "noise\n")


def test_what_a_package_changes_is_put_back_and_told(tmp_path, monkeypatch, installed):
    text = "import logging, random\nlogging.getLogger().setLevel(1)\nrandom.seed(3)\n1 / 0\n"
    install_file(tmp_path, monkeypatch, installed, text)
    level = logging.getLogger().level
    found = Registry()
    assert logging.getLogger().level == level
    assert found.warnings == [
        "The package rude, when it was loaded, changed the seed of Python's random module, the "
        "root logger. That was put back."
    ]
    assert "ZeroDivisionError" in found.broken[0].reason


def test_a_name_that_is_no_text_is_refused(monkeypatch, installed):
    installed(
        make_point(monkeypatch, "odd", make_module(type("Odd", (TinyBackbone,), {"name": 5})))
    )
    assert "its name is 5; allowed: text" in Registry().broken[0].reason


def test_a_duplicate_name_is_an_error_that_names_both(monkeypatch, installed):
    twin = type("Twin", (TinyBackbone,), {})
    installed(
        make_point(monkeypatch, "first-dist", make_module(TinyBackbone)),
        make_point(monkeypatch, "second-dist", make_module(twin)),
    )
    with pytest.raises(errors.DuplicatePluginError, match=r"first-dist.*second-dist"):
        Registry()


def test_environment_variable_limits_the_packages(monkeypatch, installed):
    other = type("Other", (TinyBackbone,), {"name": "other"})
    installed(
        make_point(monkeypatch, "first", make_module(TinyBackbone)),
        make_point(monkeypatch, "second", make_module(other)),
    )
    monkeypatch.setenv("TLKIT_PLUGINS", "second, third")
    found = Registry()
    names = {item.name for item in found.list("backbone")}
    assert "other" in names
    assert "tiny" not in names
    assert found.left_out == ["first"]
    with pytest.raises(UnknownPluginError, match="TLKIT_PLUGINS leaves out: first"):
        found.get("backbone", "tiny")


@pytest.mark.parametrize("text", ["Tlkit_Tiny", "tlkit, tlkit.tiny,", " TLKIT-TINY "])
def test_the_variable_compares_names_as_pip_does(monkeypatch, installed, text):
    installed(make_point(monkeypatch, "tlkit-tiny", make_module(TinyBackbone)))
    monkeypatch.setenv("TLKIT_PLUGINS", text)
    found = Registry()
    assert found.get("backbone", "tiny") is TinyBackbone
    assert found.left_out == []
    assert found.warnings == []


def test_a_name_in_the_variable_that_is_no_distribution_is_told(monkeypatch, installed):
    installed(make_point(monkeypatch, "tlkit-tiny", make_module(TinyBackbone)))
    monkeypatch.setenv("TLKIT_PLUGINS", "tlkit-tinny")
    found = Registry()
    assert found.left_out == ["tlkit-tiny"]
    assert found.warnings == [
        "TLKIT_PLUGINS names 'tlkit-tinny', but no installed distribution of that name has "
        "plugins. Did you mean 'tlkit-tiny'? Allowed: tlkit-tiny."
    ]


def test_an_empty_variable_loads_no_package(monkeypatch, installed):
    installed(make_point(monkeypatch, "tlkit-tiny", make_module(TinyBackbone)))
    monkeypatch.setenv("TLKIT_PLUGINS", "")
    found = Registry()
    assert found.left_out == ["tlkit-tiny"]
    assert found.warnings == []


HOOKS = [name for name, item in vars(hookspecs).items() if hasattr(item, "tlkit_spec")]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_package_registers_by_each_hook(monkeypatch, installed, hook):
    kind = next(kind for kind, name in HOOK_BY_KIND.items() if name == hook)
    plugin = type("Mine", (type(RIGHT[kind]()),), {"name": "mine"})
    installed(make_point(monkeypatch, "tlkit-mine", make_module(plugin, hook)))
    found = Registry()
    assert found.broken == []
    assert found.get(kind, "mine") is plugin


@pytest.mark.parametrize("hook", HOOKS)
def test_the_docs_name_each_hook(hook):
    assert f"`{hook}`" in PLUGINS_PAGE.read_text(encoding="utf-8")


def test_hermetic_registry_ignores_entry_points(monkeypatch, installed):
    installed(make_point(monkeypatch, "tlkit-tiny", make_module(TinyBackbone)))
    names = {item.name for item in Registry(entry_points=False).list("backbone")}
    assert "tiny" not in names


def test_unknown_name_gives_the_nearest():
    with pytest.raises(UnknownPluginError) as caught:
        Registry(entry_points=False).create("backbone", "mobilnet_v2")
    assert "Did you mean 'mobilenet_v2'?" in str(caught.value)
    assert "resnet50_v2" in str(caught.value)


def test_listing_plugins_imports_neither_tensorflow_nor_keras():
    code = (
        "import sys, tlkit.cli\n"
        "for arguments in (['plugins'], ['--help'], ['recipes'], ['run', '--help']):\n"
        "    try: tlkit.cli.main(arguments)\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "loaded = {'tensorflow', 'keras', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mobilenet_v2" in done.stdout


def test_public_names_exist():
    assert all(getattr(tlkit, name) is not None for name in tlkit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tlkit.nothing  # noqa: B018
