#!/usr/bin/env bash
# Collect everything that an installation needs into a folder, for a site without network.
#
#   bash launch/wheelhouse.sh wheelhouse          # on a host with network, Python 3.11, same system
#   PREDIFF_WHEELHOUSE=wheelhouse source launch/env.sh     # on the site: asks no index
#
# PREDIFF_EXTRAS as in launch/env.sh. About 1.5 GB; the site needs the sources of this project beside it.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
[ $# -eq 1 ] || { echo "usage: bash launch/wheelhouse.sh FOLDER" >&2; exit 2; }
python="$(command -v python3.11 || command -v python3)"
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
  echo "wheelhouse: Python 3.11 is needed, as on the site" >&2
  exit 2
}
mkdir -p "$1"
# Wheels of what is needed to build, of all dependencies at their pinned versions, built if need be.
"$python" -m pip wheel --quiet --wheel-dir "$1" "setuptools==84.0.0" wheel pip
"$python" -m pip wheel --quiet --wheel-dir "$1" --constraint "$root/constraints.txt" \
  "$root[${PREDIFF_EXTRAS:-dev,mpi}]"
rm -f "$1"/prediff_hpc-*.whl # installed from its sources
(cd "$1" && sha256sum -- *.whl >SHA256SUMS)
echo "wheelhouse: $(ls "$1"/*.whl | wc -l) wheels, $(du -sh "$1" | cut -f1), in $1"
