# Source this file from any folder: it makes the project's .venv on first use (about two minutes),
# activates it, and tells the device. Later calls return at once.
#
#   source launch/env.sh
#
# PREDIFF_VENV   another place for the environment (a fast local disk on a cluster)
# PREDIFF_WHEELHOUSE folder of launch/wheelhouse.sh: install from it alone, without any network
# PREDIFF_EXTRAS what to install beside the package, default "dev,mpi"; "dev" for hosts with a site MPI

_prediff_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
_prediff_venv="${PREDIFF_VENV:-$_prediff_root/.venv}"

_prediff_python() {
  local candidate
  for candidate in python3.11 python3 python; do
    if command -v "$candidate" >/dev/null && "$candidate" -c \
      'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

_prediff_install() {
  local python stamp="$1" log="$_prediff_venv/install.log" source=()
  if [ -n "${PREDIFF_WHEELHOUSE:-}" ]; then
    source=(--no-index --find-links "$(realpath "$PREDIFF_WHEELHOUSE")")
  fi
  python="$(_prediff_python)" || {
    echo "prediff: Python 3.11 with venv is needed and was not found on PATH" >&2
    return 2
  }
  echo "prediff: installing into $_prediff_venv (once, about two minutes; log: $log)" >&2
  [ -x "$_prediff_venv/bin/python" ] || "$python" -m venv "$_prediff_venv" || return 2
  if ! "$_prediff_venv/bin/python" -m pip install "${source[@]}" --editable \
    "$_prediff_root[${PREDIFF_EXTRAS:-dev,mpi}]" --constraint "$_prediff_root/constraints.txt" \
    >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "prediff: the installation failed; the whole log is $log" >&2
    return 2
  fi
  cp "$stamp" "$_prediff_venv/installed.stamp"
}

_prediff_setup() {
  local stamp status=0 began=$SECONDS
  stamp="$(mktemp)"
  { cat "$_prediff_root/pyproject.toml" "$_prediff_root/constraints.txt"
    echo "$_prediff_root ${PREDIFF_EXTRAS:-dev,mpi}"; } >"$stamp"
  if ! cmp -s "$stamp" "$_prediff_venv/installed.stamp"; then
    mkdir -p "$_prediff_venv"
    (
      flock 9
      cmp -s "$stamp" "$_prediff_venv/installed.stamp" || _prediff_install "$stamp"
    ) 9>"$_prediff_venv.lock" || status=2
    PREDIFF_INSTALL_SECONDS=$((SECONDS - began)) # launchers export it to the goodput ledger
  fi
  rm -f "$stamp"
  return "$status"
}

PREDIFF_INSTALL_SECONDS=0
_prediff_setup || return 2 2>/dev/null || exit 2
# shellcheck disable=SC1091
source "$_prediff_venv/bin/activate"

# The site's CANN environment, where there is one; without it the run is on the CPU.
if [ -z "${ASCEND_HOME_PATH:-}" ] && [ -f /usr/local/Ascend/ascend-toolkit/set_env.sh ]; then
  # shellcheck disable=SC1091
  source /usr/local/Ascend/ascend-toolkit/set_env.sh
fi
PREDIFF_NPUS=$(find /dev -maxdepth 1 -regex '/dev/davinci[0-9]+' 2>/dev/null | wc -l)
export PREDIFF_NPUS
