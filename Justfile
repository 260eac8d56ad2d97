# List the recipes.
default:
    @just --list

# Install tlkit, its plugins and the development tools into the current environment.
install:
    pip install -r requirements-dev.in

# Write the lock file anew after a change of dependencies; with --upgrade, to the newest releases.
lock *arguments:
    uv pip compile requirements-dev.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-emit-package tlkit --no-emit-package tlkit-efficientnet-lite --no-emit-package tlkit-huggingface --no-emit-package tlkit-kerashub --no-emit-package tlkit-mlflow --no-emit-package tlkit-tfds --custom-compile-command 'just lock' --quiet --output-file requirements-dev.lock {{arguments}}

# List the licences, and the known vulnerabilities where a service can be reached.
supply-chain:
    python .ci/licences.py
    python .ci/audit.py

# Check style, types and layers.
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# Mend style.
format:
    ruff check --fix .
    ruff format .

# Run the tests.
test *arguments:
    python -m pytest -q -n 2 {{arguments}}

# Run what CI runs.
ci:
    .ci/run
