#!/usr/bin/env bash
# Formatting, lint, types, and the shell scripts of the project. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/mypy"
if command -v shellcheck >/dev/null 2>&1; then
  git ls-files -z -- '*.sh' .ci/run | xargs -0 shellcheck
else
  echo "skipped: shellcheck is not installed"
fi
