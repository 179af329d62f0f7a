#!/usr/bin/env bash
# Lint, types, import rules and tests. Arguments go to pytest: launch/test.sh -k cuboid
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/env.sh
ruff check .
ruff format --check .
lint-imports
mypy hpc prediff profiling
python -m pytest "$@"
