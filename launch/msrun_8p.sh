#!/usr/bin/env bash
# The whole job on one host: data, VAE, latents, denoiser, ensemble forecast, scores, pictures.
#
#   bash launch/msrun_8p.sh                                      # synthetic storms, tiny model
#   bash launch/msrun_8p.sh --data DIR --name NAME               # your SEVIR-LR tree
#   WORKERS=2 bash launch/msrun_8p.sh --set train_diffusion.duration='100 steps'
#
# One process an NPU where there are NPUs, else 8 processes on the CPU; WORKERS=N sets the number.
# The same command with the same --name continues a run; `--help` lists the arguments.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
export HPC_INSTALL_SECONDS
if [ -z "${WORKERS:-}" ]; then
  WORKERS=8
  [ "$PREDIFF_NPUS" -eq 0 ] || WORKERS=$PREDIFF_NPUS
fi
exec prediff launch --workers "$WORKERS" "$@"
