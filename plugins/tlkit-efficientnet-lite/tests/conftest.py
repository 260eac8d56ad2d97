import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data_home():
    home = os.environ.get("TLKIT_TEST_HOME")
    if not home:
        pytest.skip("TLKIT_TEST_HOME is not set: no real CIFAR-10 and no real weights")
    return Path(home)
