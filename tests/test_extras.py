import pytest

from tlkit import PluginError
from tlkit.extras import require_modules


def test_what_is_there_is_imported():
    require_modules("A test needs", ("json", "csv"), "nothing")


def test_what_is_missing_is_named_with_how_to_install_it():
    with pytest.raises(PluginError) as caught:
        require_modules("A test needs", ("json", "no_such_module"), "'tlkit[serve]'")
    assert str(caught.value) == (
        "A test needs no_such_module, which cannot be imported: No module named "
        "'no_such_module'. pip install 'tlkit[serve]'"
    )
