#!/usr/bin/env bash
# Install Slurm and the network tools for tests/distributed/slurm, where this host allows it.
#
#   bash tests/distributed/slurm/install.sh
#
# Never fails: where Slurm cannot be installed it says so, and the tests that need it are skipped.
set -uo pipefail

present() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

if present slurmctld && present slurmd && present sbatch && present ip; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! present apt-get; then
  echo "slurm: not installed (needs root and apt-get); its tests are skipped" >&2
  exit 0
fi
log="$(mktemp)"
if ! { timeout 120 apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install \
  -y --no-install-recommends slurmctld slurmd slurm-client iproute2; } >"$log" 2>&1; then
  tail -n 3 "$log" >&2
  echo "slurm: could not be installed; its tests are skipped" >&2
fi
rm -f "$log"
exit 0
