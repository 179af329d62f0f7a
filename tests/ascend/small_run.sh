#!/usr/bin/env bash
# A whole run of the smallest kind, 16 x 16 frames, four steps a stage, in the current folder:
#
#   bash tests/ascend/small_run.sh
#   python tests/ascend/standin.py bash tests/ascend/small_run.sh
set -euo pipefail
exec prediff run --name small \
  --set data.frame_size=16 \
  --set data.context_frames=3 \
  --set data.forecast_frames=2 \
  --set 'data.synthetic={train_events: 6, test_events: 4}' \
  --set 'autoencoder.widths=[4, 8]' \
  --set autoencoder.latent_channels=4 \
  --set autoencoder.norm_groups=2 \
  --set 'denoiser={base_width: 16, num_heads: 1}' \
  --set 'forecast={steps: 2, ensemble_members: 3, batch: 2, cases: 4}' \
  --set 'train_autoencoder={duration: 4 steps, log_every: 1, global_batch: 8}' \
  --set 'train_diffusion={duration: 4 steps, log_every: 1, global_batch: 8}' "$@"
