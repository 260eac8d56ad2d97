# List the recipes.
default:
    @just --list

# Install tlkit, its plugins and the development tools into the current environment.
install:
    pip install -e '.[dev]' -e 'plugins/tlkit-efficientnet-lite[all]' -e plugins/tlkit-kerashub -e plugins/tlkit-huggingface -e plugins/tlkit-tfds -e plugins/tlkit-mlflow

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
