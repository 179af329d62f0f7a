"""Three compiled optimizer steps of the small denoiser against the published training code."""

import mindspore as ms
import numpy as np
import pytest
from denoiser_fixtures import DATA, SMALL_UNET, reference, set_reference_weights, small

from hpc.train.step import train_step
from prediff.convert.denoiser_names import denoiser_reference_name
from prediff.diffusion.diffusion_loss import DiffusionLoss
from prediff.diffusion.noise_schedule import noise_schedule
from prediff.models.earthformer_unet import EarthformerUNet

TIME_STEPS = ([100, 700], [3, 450], [999, 250])


def normals(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.slow
def test_three_steps_are_those_of_the_reference():
    ms.set_context(mode=ms.GRAPH_MODE)
    expected = np.load(DATA / "three_steps.npz")
    denoiser = EarthformerUNet(**SMALL_UNET)
    set_reference_weights(denoiser, prefix="unet", shapes=reference()["unet"])
    parameters = {denoiser_reference_name(name): p for name, p in denoiser.parameters_and_names()}
    loss = DiffusionLoss(denoiser, schedule=noise_schedule(name="linear")).set_train()
    loss.logvar.set_data(ms.Tensor(small()["logvar"]))
    step = train_step(
        loss,
        {**parameters, "logvar": loss.logvar},
        scalar_names=DiffusionLoss.SCALARS,
        weight_decay=1e-2,
        max_norm=1.0,
        ema_decay=0.9999,
    )
    for k, times in enumerate(TIME_STEPS):
        report = step(
            normals(100 + k, 2, 3, 16, 16, 8),
            normals(300 + k, 2, 3, 16, 16, 8),
            np.array(times, np.int32),
            normals(200 + k, 2, 4, 16, 16, 8),
            learning_rate=1e-3,
        ).read()
        assert report["loss"] == pytest.approx(expected["loss"][k], rel=1e-4)
        assert report["grad_norm"] == pytest.approx(expected["grad_norm"][k], rel=1e-3)
    state = step.export()
    final = "final_proj.weight"
    np.testing.assert_allclose(state.model[final], expected["final"], atol=2e-5)
    np.testing.assert_allclose(state.ema[final], expected["ema_final"], atol=2e-5)
    np.testing.assert_allclose(state.model["logvar"], expected["logvar"], atol=1e-6)
    for name, norm in zip(expected["names"], expected["norms"], strict=True):
        # A bias under a GroupNorm of one channel a group has no gradient but rounding noise, of
        # which AdamW makes steps of full size.
        if not name.endswith(("in_layers.2.bias", "emb_layers.1.bias")):
            assert np.linalg.norm(state.model[name]) == pytest.approx(norm, rel=5e-5), name
