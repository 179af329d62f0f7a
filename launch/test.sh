#!/usr/bin/env bash
# Lint, types, import rules and tests. Arguments go to pytest: launch/test.sh -k cuboid
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# pysteps is compiled when it is installed, so only tests of baselines and scores ask for it.
export PREDIFF_EXTRAS="${PREDIFF_EXTRAS:-dev,mpi,oracles}"
source launch/env.sh
ruff check .
ruff format --check .
lint-imports
mypy hpc prediff profiling
python launch/sbom.py "${PREDIFF_SBOM:-$VIRTUAL_ENV/sbom.json}" # what was tested, as CycloneDX
if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
# A worker that dies ends the run: a replacement would leave its file's other tests undone for ever.
python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 --durations 20 \
  -m "not alone and not cluster"
python -m pytest --durations 20 -m "alone or cluster"
