"""MindEarth's settings in our words; the keys are those that its programs read."""

import pytest
import yaml

from hpc.errors import UserError
from prediff.config import Config
from prediff.convert.mindearth_config import _TABLE, Drop, Fixed, To, translate

SETTINGS = yaml.safe_load(
    """
data: {dataset_name: sevirlr, root_dir: ./dataset/sevir_lr, seq_in: 13, raw_seq_len: 25,
       sample_mode: sequent, stride: 6, layout: NTHWC, start_date: null,
       train_val_split_date: [2019, 3, 19], train_test_split_date: [2019, 6, 1], end_date: null,
       val_ratio: 0.1, metrics_mode: "0", metrics_list: [csi, pod, sucr, bias],
       threshold_list: [16, 74, 133, 160, 181, 219], aug_mode: "2"}
layout: {t_in: 7, t_out: 6, img_height: 128, img_width: 128, layout: NTHWC}
optim: {total_batch_size: 64, micro_batch_size: 2, max_epochs: 5, lr: 1e-3, wd: 1e-5,
        betas: [0.9, 0.999], warmup_percentage: 0.1, warmup_min_lr_ratio: 0.1,
        min_lr_ratio: 1.0e-3, loss_type: l2, monitor: val/loss, gradient_clip_val: 1.0, seed: 0}
summary: {summary_dir: ./summary, eval_interval: 10, save_ckpt_epochs: 1, keep_ckpt_max: 100,
          ckpt_path: ./ckpt/diffusion.ckpt, load_ckpt: false}
logging: {logging_prefix: PreDiff}
eval: {eval_example_only: true, eval_aligned: true, eval_unaligned: true,
       num_samples_per_context: 2, fs: 20, label_offset: [-0.5, 0.5],
       test_example_data_idx_list: [0, 16]}
model:
  diffusion: {data_shape: [6, 128, 128, 1], timesteps: 500, beta_schedule: linear,
              linear_start: 1e-4, linear_end: 2e-2, learn_logvar: true, scale_factor: 1.0,
              latent_shape: [6, 16, 16, 64], clip_denoised: false}
  align:
    alignment_type: avg_x
    guide_scale: 50.0
    model_args: {base_units: 128, depth: [1, 1], num_heads: 4, attn_drop: 0.1, gated_ffn: false}
    model_ckpt_path: ./ckpt/align.ckpt
  latent_model: {base_units: 256, depth: [4, 4], num_heads: 4, scale_alpha: 1.0, attn_drop: 0.1,
                 proj_drop: 0.1, ffn_drop: 0.1, self_pattern: axial, padding_type: zeros,
                 ffn_activation: gelu, num_global_vectors: 0, checkpoint_level: 0}
  vae: {block_out_channels: [128, 256, 512, 512], latent_channels: 64, layers_per_block: 2,
        norm_num_groups: 32, in_channels: 1, act_fn: silu, pretrained_ckpt_path: ./ckpt/vae.ckpt}
"""
)


def leaves(tree):
    return sum(leaves(v) if isinstance(v, dict) else 1 for v in tree.values())


def test_their_settings_become_a_valid_configuration_of_ours():
    values, _ = translate(SETTINGS)
    config = Config.model_validate(values)
    assert str(config.data.root) == "dataset/sevir_lr"
    assert (config.data.frame_size, config.data.context_frames) == (128, 7)
    assert config.data.forecast_frames == 6
    assert config.data.test_from.isoformat() == "2019-06-01T00:00:00"
    assert config.autoencoder.widths == (128, 256, 512, 512)
    assert config.autoencoder.latent_channels == 64
    assert (config.denoiser.base_width, config.denoiser.depths) == (256, (4, 4))
    assert config.denoiser.attention_dropout == 0.1
    assert config.denoiser.recompute is False
    assert (config.alignment.base_width, config.alignment.depths) == (128, (1, 1))
    assert (config.diffusion.noise_steps, config.diffusion.latent_scale) == (500, 1.0)
    training = config.train_diffusion
    assert (training.duration, training.global_batch, training.micro_batch) == ("5 epochs", 64, 2)
    assert (training.learning_rate, training.gradient_clip) == (1e-3, 1.0)
    assert training.augmentation == "flips_and_quarter_turns"
    assert config.forecast.ensemble_members == 2
    assert (config.forecast.solver, config.forecast.steps) == ("ddpm", 500)
    assert config.forecast.weights == "raw"


def test_every_key_is_translated_or_dropped_with_a_reason():
    values, dropped = translate(SETTINGS)
    implied = 3  # solver, steps and weights stand in no file of theirs
    assert leaves(values) - implied + len(dropped) == leaves(SETTINGS)
    reasons = dict(dropped)
    assert len(reasons) == len(dropped)
    assert all(len(reason) > 5 for reason in reasons.values())
    assert "1e-2" in reasons["optim.wd"]
    assert reasons["data.start_date"].startswith("all events")
    assert reasons["model.diffusion.linear_start"] == "always so here"


def change(path, value):
    sections = path.split(".")
    tree = yaml.safe_load(yaml.safe_dump(SETTINGS))
    place = tree
    for section in sections[:-1]:
        place = place.setdefault(section, {})
    place[sections[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("model.latent_model.gated_ffn", True, "only False is offered.*differs from yours"),
        ("model.diffusion.linear_end", "3e-2", "only 0.02 is offered"),
        ("data.aug_mode", "1", "'1' cannot be translated: only 0, 2"),
        ("optim.surprise", 1, "not a key that MindEarth's PreDiff reads"),
        ("model.latent_model.self_pattern", ["axial", "full"], "one attention pattern serves"),
        ("data.root_dir", None, "is null"),
    ],
)
def test_what_cannot_be_translated_is_dropped_and_says_why(path, value, reason):
    values, dropped = translate(change(path, value))
    assert dict(dropped)[path] is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(dict(dropped)[path])
    Config.model_validate(values)


def test_the_names_of_the_original_file_are_understood():
    original = {
        "dataset": {"in_len": 5, "out_len": 4},
        "vis": {"num_samples_per_context": 3},
        "model": {"diffusion": {"parameterization": "x0"}},
    }
    values, dropped = translate(original)
    assert values["data"] == {"context_frames": 5, "forecast_frames": 4}
    assert values["forecast"]["ensemble_members"] == 3
    assert values["diffusion"]["parameterization"] == "x0"
    assert dropped == []


def test_two_keys_that_contradict_each_other_are_refused():
    with pytest.raises(UserError, match=r"optim\.gradient_clip_val and clip_norm both mean"):
        translate(change("clip_norm", 2.0))


@pytest.mark.parametrize("content", [None, [], {"data": {}}, {"model": 3}])
def test_another_file_is_refused(content):
    with pytest.raises(UserError, match="no section model"):
        translate(content)


def test_every_target_is_a_key_of_ours():
    rules = [rule for section in _TABLE.values() for rule in section.values()]
    assert {type(rule) for rule in rules} == {To, Fixed, Drop}
    for rule in rules:
        if isinstance(rule, To):
            kind = Config
            for part in rule.key.split("."):
                assert part in kind.model_fields, rule.key
                kind = kind.model_fields[part].annotation
