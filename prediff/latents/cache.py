"""Stage: encode every event once; training reads posterior moments, never frames."""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from hpc.cluster.mpi import Ranks
from prediff.config import Config
from prediff.data.augmentation import DIHEDRAL_VARIANTS, dihedral
from prediff.data.dataset import RadarWindows
from prediff.data.open_data import open_split
from prediff.latents.layout import StoreIdentity
from prediff.latents.reader import LatentReader, open_store
from prediff.latents.writer import BuildProgress, BuildReport, build_store
from prediff.models.autoencoder import Autoencoder
from prediff.run_folder import RunFolder
from prediff.trained_networks import autoencoder_sha256, load_autoencoder

ENCODER_BATCH = 25


class MomentEncoder(nn.Cell):
    """frames ``[N, H, W, 1]`` -> mean and standard deviation ``[N, h, w, c]``, in one graph."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.encoder = autoencoder.encoder

    def construct(self, frames):
        mean, logvar = self.encoder(frames)
        return mean, ops.exp(0.5 * logvar)


def variants(config: Config) -> list[int]:
    """Return the flips and rotations that the denoiser trains on; 0 is the identity."""
    augmented = config.train_diffusion.augmentation == "flips_and_quarter_turns"
    return list(DIHEDRAL_VARIANTS) if augmented else [0]


def latent_shape(config: Config) -> tuple[int, int, int]:
    return (config.latent_size, config.latent_size, config.autoencoder.latent_channels)


def cache_latents(
    folder: RunFolder,
    config: Config,
    *,
    ranks: Ranks,
    progress: Callable[[BuildProgress], None] | None = None,
) -> list[BuildReport]:
    """Encode the usable events of all splits that are not in the store yet.

    Raises:
        UserError: no trained autoencoder, another one made the store, no room, broken frames.
    """
    encoder = MomentEncoder(load_autoencoder(folder, config))
    encoder.set_train(False)

    def encode(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = encoder(ms.Tensor(frames))
        return mean.asnumpy(), std.asnumpy()

    reports = []
    with open_split(folder, config, "all") as events:
        identity = store_identity(folder, config, events)
        for variant in variants(config):

            def read_event(number: int, variant: int = variant) -> np.ndarray:
                return np.ascontiguousarray(dihedral(events.read_event(number), variant=variant))

            reports.append(
                build_store(
                    folder.latents,
                    identity=identity,
                    variant=variant_name(variant),
                    event_ids=[event.id for event in events.events],
                    num_frames=events.frame_shape.frames,
                    latent_shape=latent_shape(config),
                    read_event=read_event,
                    encode=encode,
                    batch_frames=ENCODER_BATCH,
                    ranks=ranks,
                    progress=progress,
                )
            )
    return reports


def variant_name(variant: int) -> str:
    """Return the store's name of a symmetry of the square."""
    return "identity" if variant == 0 else f"dihedral_{variant}"


def store_identity(folder: RunFolder, config: Config, events: RadarWindows) -> StoreIdentity:
    """Return what the latents must be of: these frames, this catalog, this run's autoencoder."""
    return StoreIdentity(
        dataset=f"vil_{config.data.frame_size}px",
        vae_sha256=autoencoder_sha256(folder),
        catalog_sha256=events.catalog_sha256,
    )


def open_latents(folder: RunFolder, config: Config, events: RadarWindows) -> list[LatentReader]:
    """Open the store's groups, one a variant, in the order of `variants`.

    Raises:
        UserError: the store is incomplete, damaged, or of another autoencoder or catalog.
    """
    identity = store_identity(folder, config, events)
    return [
        open_store(folder.latents, identity=identity, variant=variant_name(variant))
        for variant in variants(config)
    ]
