# Source this file from any folder: it makes the project's .venv on first use (about two minutes),
# activates it, and tells the device. Later calls return at once.
#
#   source launch/env.sh
#
# PREDIFF_VENV   another place for the environment (a fast local disk on a cluster)
# PREDIFF_SUMS   "none" where pip takes other files than those of launch/sums-x86_64.txt (an old glibc)
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

# What an environment was made from; without temporary files, for TMPDIR may be full or not there.
_prediff_stamp() {
  cat "$_prediff_root/pyproject.toml" "$_prediff_root/constraints.txt"
  echo "$_prediff_root ${PREDIFF_EXTRAS:-dev,mpi}"
}

_prediff_is_current() {
  _prediff_stamp | cmp -s - "$_prediff_venv/installed.stamp"
}

# Code is run from there: nobody may be able to write it but its owner, who is root, this user or
# the owner of the checkout (a site's one installation).
_prediff_refuse_others() {
  local path owner
  owner="$(stat -c %u "$_prediff_root/pyproject.toml")"
  if [ -L "$_prediff_venv.lock" ]; then
    echo "prediff: $_prediff_venv.lock is a link: remove it, or choose another PREDIFF_VENV" >&2
    return 2
  fi
  for path in "$_prediff_venv" "$_prediff_venv/bin" "$_prediff_venv/bin/activate"; do
    [ -e "$path" ] || continue
    if [ -n "$(find -L "$path" -maxdepth 0 \( -perm -o=w -o ! -uid 0 ! -uid "$EUID" ! -uid "$owner" \))" ]; then
      echo "prediff: $path belongs to somebody else, or everybody may write it: code from there is" \
        "not run; choose another PREDIFF_VENV" >&2
      return 2
    fi
  done
}

# A moved or copied environment names its old place in every script.
_prediff_has_moved() {
  local activate="$_prediff_venv/bin/activate"
  # shellcheck disable=SC1090
  [ -f "$activate" ] && ! (source "$activate" && [ "$VIRTUAL_ENV" -ef "$_prediff_venv" ])
}

# Packages whose sum is known are installed first, and only if they have it; then the project, which
# is a folder and has no sum, with what is left at its pinned version. A wheelhouse has sums of its own.
_prediff_pip() {
  local sums="$_prediff_venv/sums.txt" extras="${PREDIFF_EXTRAS:-dev,mpi}" source=() without="^#"
  if [ -n "${PREDIFF_WHEELHOUSE:-}" ]; then
    source=(--no-index --find-links "$(realpath "$PREDIFF_WHEELHOUSE")")
    (cd "$PREDIFF_WHEELHOUSE" && sha256sum --quiet --check SHA256SUMS) || return
  elif [ "$(uname -sm)" = "Linux x86_64" ] && [ "${PREDIFF_SUMS:-check}" != none ]; then
    # The sums are of the default extras; pins that were changed since have none.
    case ",$extras," in *,dev,*) ;; *) without="." ;; esac
    case ",$extras," in *,mpi,*) ;; *) without="$without\\|^mpich==" ;; esac
    awk 'NR == FNR { pinned[$1] = 1; next } $1 in pinned' "$_prediff_root/constraints.txt" \
      "$_prediff_root/launch/sums-x86_64.txt" | grep -v "$without" >"$sums"
    if [ -s "$sums" ]; then
      "$_prediff_venv/bin/python" -m pip install --require-hashes --no-deps --requirement "$sums" ||
        return
    fi
  fi
  "$_prediff_venv/bin/python" -m pip install "${source[@]}" \
    --editable "$_prediff_root[$extras]" --constraint "$_prediff_root/constraints.txt"
}

_prediff_install() {
  local python log="$_prediff_venv/install.log" clear=()
  if _prediff_has_moved; then
    echo "prediff: $_prediff_venv was made for another place and is made anew" >&2
    rm -f "$_prediff_venv/bin/python"
    clear=(--clear)
  fi
  python="$(_prediff_python)" || {
    echo "prediff: Python 3.11 with venv is needed and was not found on PATH" >&2
    return 2
  }
  echo "prediff: installing into $_prediff_venv (once, about two minutes; log: $log)" >&2
  [ -x "$_prediff_venv/bin/python" ] || "$python" -m venv "${clear[@]}" "$_prediff_venv" || return 2
  if ! _prediff_pip >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "prediff: the installation failed; the whole log is $log" >&2
    return 2
  fi
  _prediff_stamp >"$_prediff_venv/installed.stamp"
}

_prediff_setup() {
  local status=0 began=$SECONDS stamp="$_prediff_venv/installed.stamp"
  _prediff_refuse_others || return 2
  if ! _prediff_is_current; then
    (
      umask 022 # others read a site's installation, and only its owner writes it
      mkdir -p "$_prediff_venv" && flock 9 && { _prediff_is_current || _prediff_install; }
    ) 9>>"$_prediff_venv.lock" || status=2
    HPC_INSTALL_SECONDS=$((SECONDS - began)) # launchers export it to the goodput ledger
  elif [ -O "$stamp" ]; then
    chmod a+r "$stamp" 2>/dev/null || true
  fi
  return "$status"
}

HPC_INSTALL_SECONDS=0
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
