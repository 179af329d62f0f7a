"""The autoencoder equals the published one; `autoencoder.npz` is cut from the reference outputs."""

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from reference_weights import reference_weights

from hpc.errors import UserError
from prediff.convert.autoencoder_names import autoencoder_reference_name
from prediff.convert.parameter_names import reference_entries
from prediff.convert.reference import load_reference
from prediff.models.autoencoder import Autoencoder, Block, Downsample, Middle, Upsample
from prediff.models.reconstruction_loss import ReconstructionLoss, kl_divergence

REFERENCE = np.load(Path(__file__).parents[2] / "data" / "autoencoder.npz")
ms.set_context(mode=ms.GRAPH_MODE)


def nhwc(name):
    return REFERENCE[name].transpose(0, 2, 3, 1)


def tensor(name):
    return ms.Tensor(nhwc(name).copy())


def relative_error(found, expected):
    return np.abs(found.asnumpy() - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def autoencoder():
    cell = Autoencoder(latent_channels=8, widths=(32, 64), norm_groups=32)
    shapes = {name: entry.reference_shape for name, entry in reference_entries(cell).items()}
    load_reference(cell, reference_weights("vae.", shapes))
    return cell


def test_posterior_mean_and_spread_equal_the_reference(autoencoder):
    mean, logvar = autoencoder.encode(tensor("vae.in"))
    assert relative_error(mean, nhwc("vae.mean")) < 1e-4
    assert relative_error(ms.ops.exp(0.5 * logvar), nhwc("vae.std")) < 1e-4


def test_decoded_latents_equal_the_reference(autoencoder):
    assert relative_error(autoencoder.decode(tensor("vae.dec_in")), nhwc("vae.dec_out")) < 1e-4


def test_without_noise_the_reconstruction_decodes_the_posterior_mean(autoencoder):
    noise = ms.ops.zeros_like(tensor("vae.mean"))
    reconstruction, mean, _ = autoencoder(tensor("vae.in"), noise)
    assert relative_error(reconstruction, nhwc("vae.recon_mode")) < 1e-4
    assert relative_error(mean, nhwc("vae.mean")) < 1e-4


def test_the_reconstruction_decodes_the_reference_posterior_sample(autoencoder):
    reconstruction, _, _ = autoencoder(tensor("vae.in"), tensor("vae.eps"))
    expected = autoencoder.decode(tensor("vae.sample")).asnumpy()
    assert relative_error(reconstruction, expected) < 1e-4


def test_kl_divergence_equals_the_reference():
    mean, std = tensor("vae.mean"), nhwc("vae.std")
    kl = kl_divergence(mean, ms.Tensor(2 * np.log(std)))
    np.testing.assert_allclose(kl.asnumpy(), REFERENCE["vae.kl"], rtol=1e-5)


def test_reconstruction_loss_is_the_mean_over_frames_of_summed_errors_and_kl(autoencoder):
    frames, noise = tensor("vae.in"), tensor("vae.eps")
    loss, error, kl = ReconstructionLoss(autoencoder, kl_weight=0.01)(frames, noise)
    difference = np.abs(nhwc("vae.in") - autoencoder.decode(tensor("vae.sample")).asnumpy())
    expected_kl = REFERENCE["vae.kl"].mean()
    np.testing.assert_allclose(float(error), difference.mean(), rtol=1e-4)
    np.testing.assert_allclose(float(kl), expected_kl, rtol=1e-4)
    np.testing.assert_allclose(float(loss), difference.sum() / 2 + 0.01 * expected_kl, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("vae_down", lambda: Block(32, 64, 2, 32, Downsample(64))),
        ("vae_mid", lambda: Middle(64, 32)),
        ("vae_up", lambda: Block(64, 32, 3, 32, Upsample(32))),
    ],
)
def test_each_block_equals_the_reference(name, build):
    cell = build()
    ours, theirs = {
        "vae_down": ("encoder.blocks.0.", "encoder.down_blocks.0."),
        "vae_up": ("decoder.blocks.0.", "decoder.up_blocks.0."),
        "vae_mid": ("encoder.middle.", "encoder.mid_block."),
    }[name]
    for path, parameter in cell.parameters_and_names():
        reference = autoencoder_reference_name(ours + path).removeprefix(theirs)
        weights = reference_weights(f"{name}.", {reference: parameter.shape})
        parameter.set_data(ms.Tensor(weights[reference]))
    found = cell(tensor(f"{name}.in")).asnumpy()
    np.testing.assert_allclose(found, nhwc(f"{name}.out"), atol=1e-5)


def test_log_variance_is_clamped():
    far = Autoencoder(latent_channels=2, widths=(8, 8), norm_groups=8, layers_per_block=1)
    far.encoder.moments.bias.set_data(ms.Tensor(np.array([0, 0, 50, -50], np.float32)))
    _, logvar = far.encode(ms.Tensor(np.zeros((1, 8, 8, 1), np.float32)))
    np.testing.assert_array_equal(logvar.asnumpy()[0, 0, 0], [20.0, -30.0])


def test_starting_weights_are_a_function_of_the_seed():
    sizes = {"latent_channels": 2, "widths": (8, 16), "norm_groups": 8}
    first, again = Autoencoder(seed=3, **sizes), Autoencoder(seed=3, **sizes)
    other = Autoencoder(seed=4, **sizes)
    weight = first.decoder.conv_in.weight.asnumpy()
    np.testing.assert_array_equal(weight, again.decoder.conv_in.weight.asnumpy())
    assert not np.array_equal(weight, other.decoder.conv_in.weight.asnumpy())
    assert np.abs(weight).max() <= (2 * 9) ** -0.5 < 1.05 * np.abs(weight).max()


def test_widths_that_the_norm_groups_do_not_divide_are_refused():
    with pytest.raises(UserError, match="width 48 is not a multiple of its 32"):
        Autoencoder(latent_channels=4, widths=(32, 48))
