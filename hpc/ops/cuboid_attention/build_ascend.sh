#!/usr/bin/env bash
# Builds and installs the cuboid-attention operator on a machine with the Ascend toolkit (CANN 8.2 or
# newer), through the compiler driver that MindSpore ships. Not yet run on silicon.
#
#   bash hpc/ops/cuboid_attention/build_ascend.sh [install folder]
#
# Then, in every shell and launch script that trains: source <install folder>/prediff_env.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
install="${1:-$HOME/.local/share/prediff-hpc/ascend}"
cann="${ASCEND_HOME_PATH:-/usr/local/Ascend/cann}"

fail() { echo "build_ascend.sh: $*" >&2; exit 2; }

[[ -d "$cann" ]] || fail "no Ascend toolkit at $cann; source its set_env.sh first"
driver="$(python -c 'import mindspore, os; print(os.path.dirname(mindspore.__file__))')/lib/plugin/ascend/custom_compiler"
[[ -f "$driver/setup.py" ]] || fail "this MindSpore has no custom_compiler; use a wheel of 2.8 to 2.10"

# The driver writes beside itself and into the working directory: give it a copy of its own.
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp -r "$driver/." "$work/"
mkdir -p "$install"

cd "$work"
python setup.py --op_host_path "$here/op_host" --op_kernel_path "$here/op_kernel" \
  --soc_version "ascend910b;ascend910_93" --ascend_cann_package_path "$cann" \
  --vendor_name prediff --install_path "$install" --install ||
  { cp -f build.log install.log "$install/" 2>/dev/null || true
    fail "the build failed; the logs are in $install"; }

cat > "$install/prediff_env.sh" <<ENV
export ASCEND_CUSTOM_OPP_PATH="$install/vendors/prediff\${ASCEND_CUSTOM_OPP_PATH:+:\$ASCEND_CUSTOM_OPP_PATH}"
export LD_LIBRARY_PATH="$install/vendors/prediff/op_api/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
ENV
echo "installed; now: source $install/prediff_env.sh && python -m hpc.ops.cuboid_attention.check_ascend"
