#!/usr/bin/env bash
# Runs the unit tests with the oldest versions of the direct dependencies that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-oldest
"${VENV:-.venv}/bin/uv" venv --quiet --allow-existing "$venv" --python "${VENV:-.venv}/bin/python"
"${VENV:-.venv}/bin/uv" pip install --quiet --python "$venv/bin/python" --resolution lowest-direct -e ".[embedded,test]"
"$venv/bin/python" -m pytest -m "not slow" "${@:-tests/unit}"
