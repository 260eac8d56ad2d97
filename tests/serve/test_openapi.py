"""The OpenAPI document says what the service does: schemathesis looks for what it does not say."""

import subprocess
import sys

import pytest

# No schema says which bytes are a picture, or that data has as many numbers as its shape, so that
# what fits the schemas of POST may be refused.
CONFIG = """
[[operations]]
include-method = "POST"
checks.positive_data_acceptance.enabled = false
"""


@pytest.mark.slow
def test_schemathesis_finds_nothing(served, tmp_path):
    pytest.importorskip("schemathesis")
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = "from schemathesis.cli import schemathesis; schemathesis()"
    call = [sys.executable, "-c", command, "run", f"{served.url}/openapi.json"]
    call += ["--max-examples", "10", "--phases", "coverage,fuzzing", "--no-color"]
    found = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout
    assert "12 selected / 12 total" in found.stdout
    assert served.metric("tlkit_requests_total") > 200


def test_every_error_is_documented(served):
    _, document = served.get("/openapi.json")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            assert "422" not in answers
            assert {"408", "421"} <= set(answers)
            if method == "post":
                assert {"400", "401", "403", "413", "415", "503"} <= set(answers)
                assert operation["requestBody"]["required"] is True
            for status, answer in answers.items():
                assert status == "200" or answer["content"]["application/json"]["schema"], path
    assert "securitySchemes" not in document["components"]


def test_there_is_no_page_that_loads_scripts_from_elsewhere(served):
    for path in ("/docs", "/redoc"):
        assert served.get(path)[0] == 404
