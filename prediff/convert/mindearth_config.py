"""MindEarth's PreDiff ``diffusion.yaml`` in our configuration's words, key by key.

The table below is the whole translation: each key path of theirs leads to a key of ours, or to the
reason why it has none. The original PyTorch settings file, which theirs descends from, names some
sections and keys otherwise; ``_SYNONYMS`` accepts those too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpc.errors import UserError


@dataclass(frozen=True)
class To:
    """Goes to our key; ``value`` translates what stands there (ValueError: cannot be)."""

    key: str
    value: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Fixed:
    """We have no such choice: this value changes nothing, any other makes another model."""

    value: Any


@dataclass(frozen=True)
class Drop:
    """Has no counterpart, and why."""

    why: str


def _date(value: Any) -> str:
    year, month, day, *time = value
    hour, minute, second = (*time, 0, 0, 0)[:3]
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def _one_of(choices: Mapping[Any, Any]) -> Callable[[Any], Any]:
    def look_up(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"only {', '.join(map(str, choices))} can be translated")
        return choices[value]

    return look_up


def _list_of_one_kind(value: Any) -> str:
    kinds = {value} if isinstance(value, str) else set(value)
    if len(kinds) != 1:
        raise ValueError("one attention pattern serves all levels")
    return kinds.pop()


_FOLLOWS = Drop("follows from the frame size, the frame counts and the autoencoder")
_INITIALISATION = Drop("the published initialisation is always used")
_PLOTTING = Drop("pictures have one fixed layout")
_LIGHTNING = Drop("belongs to the PyTorch trainer")
_FILES = Drop("runs/NAME holds everything; choose NAME with --name, and nothing is deleted")
_WEIGHTS_FILE = Drop("load weights with `prediff convert`")
_CASES = Drop("forecast.cases spreads the cases evenly over the test windows")
_GUIDANCE = Drop(
    "a run makes guided or plain forecasts; theirs, which use the truth, are "
    "forecast.guidance.source=oracle with factor=2 and coupling=reference"
)
_PROTOCOL = Drop("evaluate.protocol names thresholds, scores and how they are counted")
_STAGE = "train_diffusion"


def _network(section: str) -> dict[str, To | Fixed | Drop]:
    """The keys that the denoiser and the alignment network share."""
    return {
        "base_units": To(f"{section}.base_width"),
        "depth": To(f"{section}.depths"),
        "num_heads": To(f"{section}.num_heads"),
        "attn_drop": To(f"{section}.attention_dropout"),
        "proj_drop": To(f"{section}.projection_dropout"),
        "ffn_drop": To(f"{section}.feed_forward_dropout"),
        "self_pattern": To(f"{section}.attention_pattern", _list_of_one_kind),
        "block_attn_patterns": To(f"{section}.attention_pattern", _list_of_one_kind),
        "use_attn_pattern": Drop("MindEarth knows the axial pattern only; see attention_pattern"),
        "scale_alpha": To(f"{section}.width_exponent", float),
        "padding_type": To(f"{section}.padding"),
        "checkpoint_level": To(f"{section}.recompute", lambda level: level > 0),
        "input_shape": _FOLLOWS,
        "block_units": Drop("widths are base_width times a power of two"),
        "downsample": Fixed(2),
        "downsample_type": Fixed("patch_merge"),
        "ffn_activation": Fixed("gelu"),
        "gated_ffn": Fixed(False),
        "norm_layer": Fixed("layer_norm"),
        "use_inter_ffn": Fixed(True),
        "use_relative_pos": Fixed(True),
        "self_attn_use_final_proj": Fixed(True),
        "pos_embed_type": Fixed("t+h+w"),
        "time_embed_channels_mult": Fixed(4),
        "time_embed_use_scale_shift_norm": Fixed(False),
        "use_global_vector_ffn": Drop("matters with global vectors only"),
        "use_global_self_attn": Drop("matters with global vectors only"),
        "separate_global_qkv": Drop("matters with global vectors only"),
        "global_dim_ratio": Drop("matters with global vectors only"),
        "block_cuboid_size": Drop("cuboids follow from the attention pattern"),
        "block_cuboid_strategy": Drop("cuboids follow from the attention pattern"),
        "block_cuboid_shift_size": Drop("cuboids follow from the attention pattern"),
        **{
            f"{part}_init_mode": _INITIALISATION
            for part in (
                "attn_linear",
                "ffn_linear",
                "ffn2_linear",
                "attn_proj_linear",
                "conv",
                "down_linear",
                "down_up_linear",
                "global_proj_linear",
                "norm",
            )
        },
    }


_TABLE: dict[str, dict[str, To | Fixed | Drop]] = {
    "data": {
        "root_dir": To("data.root"),
        "img_height": To("data.frame_size"),
        "img_width": Drop("frames are square: data.frame_size comes from img_height"),
        "t_in": To("data.context_frames"),
        "t_out": To("data.forecast_frames"),
        "seq_in": Drop("is data.context_frames + data.forecast_frames"),
        "raw_seq_len": Drop("the length of an event is read from its file"),
        "stride": To("data.window_stride"),
        "train_test_split_date": To("data.test_from", _date),
        "val_ratio": To("data.validation_fraction"),
        "train_val_split_date": Drop(
            "validation events are drawn from the whole training period: data.validation_fraction"
        ),
        "start_date": Drop("all events under data.root are used"),
        "end_date": Drop("all events under data.root are used"),
        "threshold_list": _PROTOCOL,
        "aug_mode": To(
            f"{_STAGE}.augmentation", _one_of({"0": "none", "2": "flips_and_quarter_turns"})
        ),
        "metrics_mode": _PROTOCOL,
        "metrics_list": _PROTOCOL,
        "dataset_name": Fixed("sevirlr"),
        "sample_mode": Fixed("sequent"),
        "layout": Drop("arrays are always [batch, time, height, width, channel]"),
        "plot_stride": _PLOTTING,
        "interval_real_time": _PLOTTING,
        "data_channels": Fixed(1),
    },
    "optim": {
        "total_batch_size": To(f"{_STAGE}.global_batch"),
        "micro_batch_size": To(f"{_STAGE}.micro_batch"),
        "max_epochs": To(f"{_STAGE}.duration", lambda epochs: f"{int(epochs)} epochs"),
        "seed": To("seed"),
        "lr": To(f"{_STAGE}.learning_rate", float),
        "gradient_clip_val": To(f"{_STAGE}.gradient_clip", float),
        "warmup_percentage": To(f"{_STAGE}.warmup_fraction", float),
        "warmup_min_lr_ratio": To(f"{_STAGE}.warmup_start", float),
        "min_lr_ratio": To(f"{_STAGE}.final_learning_rate_ratio", float),
        "wd": Drop(
            "never reached the optimizer: MindEarth trained without weight decay, the reference "
            f"with 1e-2; set {_STAGE}.weight_decay to choose"
        ),
        "betas": Drop("AdamW's moments decay by 0.9 and 0.999"),
        "method": Fixed("adamw"),
        "lr_scheduler_mode": Fixed("cosine"),
        "loss_type": Fixed("l2"),
        "monitor": Drop("the validation loss is what is watched"),
        "early_stop": Fixed(False),
        "early_stop_mode": Drop("there is no early stopping"),
        "early_stop_patience": Drop("there is no early stopping"),
        "save_top_k": Drop(f"{_STAGE}.keep_checkpoints keeps the newest and the best"),
        "float32_matmul_precision": Drop("a CUDA switch; see denoiser.precision"),
    },
    "summary": {
        "summary_dir": _FILES,
        "keep_ckpt_max": To(f"{_STAGE}.keep_checkpoints"),
        "eval_interval": Drop(f"{_STAGE}.validate_every counts steps, not epochs"),
        "save_ckpt_epochs": Drop(f"{_STAGE}.checkpoint_every counts steps, not epochs"),
        "ckpt_path": _WEIGHTS_FILE,
        "load_ckpt": Drop("a run with the same --name continues by itself"),
    },
    "logging": {
        key: Drop("everything is logged to TensorBoard under runs/NAME")
        for key in (
            "logging_prefix",
            "monitor_lr",
            "monitor_device",
            "track_grad_norm",
            "use_wandb",
            "profiler",
            "save_npy",
        )
    },
    "trainer": dict.fromkeys(
        (
            "check_val_every_n_epoch",
            "log_step_ratio",
            "precision",
            "find_unused_parameters",
            "num_sanity_val_steps",
        ),
        _LIGHTNING,
    ),
    "eval": {
        "num_samples_per_context": To("forecast.ensemble_members"),
        "eval_example_only": _CASES,
        "train_example_data_idx_list": _CASES,
        "val_example_data_idx_list": _CASES,
        "test_example_data_idx_list": _CASES,
        "eval_aligned": _GUIDANCE,
        "eval_unaligned": _GUIDANCE,
        "fs": _PLOTTING,
        "label_offset": _PLOTTING,
        "label_avg_int": _PLOTTING,
        "num_vis": _PLOTTING,
    },
    "model.diffusion": {
        "timesteps": To("diffusion.noise_steps"),
        "beta_schedule": To("diffusion.noise_schedule"),
        "parameterization": To("diffusion.parameterization", _one_of({"eps": "eps", "x0": "x0"})),
        "learn_logvar": To("diffusion.learn_log_variance"),
        "original_elbo_weight": To("diffusion.variational_weight", float),
        "scale_factor": To("diffusion.latent_scale", float),
        "scale_by_std": Fixed(False),
        "linear_start": Fixed(1e-4),
        "linear_end": Fixed(2e-2),
        "cosine_s": Fixed(8e-3),
        "given_betas": Fixed(None),
        "l_simple_weight": Fixed(1.0),
        "logvar_init": Fixed(0.0),
        "v_posterior": Fixed(0.0),
        "clip_denoised": Fixed(False),
        "use_ema": Drop("averaged weights are always kept; forecast.weights chooses"),
        "log_every_t": Drop("intermediate samples are not kept"),
        "data_shape": _FOLLOWS,
        "latent_shape": _FOLLOWS,
        "latent_cond_shape": _FOLLOWS,
        "cond_stage_model": Drop("the context is encoded by the same autoencoder"),
        "cond_stage_forward": Drop("the context is encoded by the same autoencoder"),
        "cond_stage_trainable": Fixed(False),
        "num_timesteps_cond": Fixed(None),
    },
    "model.align": {
        "alignment_type": _GUIDANCE,
        "guide_scale": To("forecast.guidance.scale", float),
        "model_type": Fixed("cuboid"),
        "model_ckpt_path": _WEIGHTS_FILE,
    },
    "model.align.model_args": {
        **_network("alignment"),
        "time_embed_dropout": Fixed(0.0),
        "hierarchical_pos_embed": Fixed(False),
        "num_global_vectors": Fixed(0),
        "out_channels": Fixed(1),
        "pool": Fixed("attention"),
        "readout_seq": Fixed(True),
        "t_out": _FOLLOWS,
    },
    "model.latent_model": {
        **_network("denoiser"),
        "target_shape": _FOLLOWS,
        "time_embed_dropout": To("denoiser.time_block_dropout", float),
        "hierarchical_pos_embed": To("denoiser.hierarchical_position_embedding"),
        "num_global_vectors": To("denoiser.global_vectors", int),
        "upsample_type": Fixed("upsample"),
        "upsample_kernel_size": Fixed(3),
        "unet_res_connect": Fixed(True),
        "use_dec_self_global": Drop("the network has no decoder of that kind"),
        "dec_self_update_global": Drop("the network has no decoder of that kind"),
        "use_dec_cross_global": Drop("the network has no decoder of that kind"),
    },
    "model.vae": {
        "block_out_channels": To("autoencoder.widths"),
        "latent_channels": To("autoencoder.latent_channels"),
        "layers_per_block": To("autoencoder.layers_per_block"),
        "norm_num_groups": To("autoencoder.norm_groups"),
        "in_channels": Fixed(1),
        "out_channels": Fixed(1),
        "data_channels": Fixed(1),
        "act_fn": Fixed("silu"),
        "down_block_types": Drop("the number of blocks is that of autoencoder.widths"),
        "up_block_types": Drop("the number of blocks is that of autoencoder.widths"),
        "pretrained_ckpt_path": _WEIGHTS_FILE,
    },
    "": {
        "clip_norm": To(f"{_STAGE}.gradient_clip", float),
        "rescale_method": Fixed("01"),
    },
}

_SECTIONS = {"dataset": "data", "layout": "data", "vis": "eval"}
_SYNONYMS = {"in_len": "t_in", "out_len": "t_out", "seq_len": "seq_in"}
# What their code does whatever the file says: all noise steps, without averaged weights.
_IMPLIED = {"forecast.solver": "ddpm", "forecast.steps": 1000, "forecast.weights": "raw"}


def translate(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Translate MindEarth's (or the original's) settings.

    Args:
        settings: the parsed YAML file.

    Returns:
        The values for a file of ours, nested by section, and each dropped key with the reason.

    Raises:
        UserError: not such a file, or two of its keys contradict each other.
    """
    if not isinstance(settings, Mapping) or not isinstance(settings.get("model"), Mapping):
        raise UserError("this is not a PreDiff settings file of MindEarth: it has no section model")
    chosen: dict[str, Any] = {}
    sources: dict[str, str] = {}
    dropped: list[tuple[str, str]] = []
    for path, value in _leaves(settings, ""):
        rule = _rule(path)
        if rule is None:
            dropped.append((path, "not a key that MindEarth's PreDiff reads"))
        elif isinstance(rule, Drop):
            dropped.append((path, rule.why))
        elif isinstance(rule, Fixed):
            dropped.append((path, _fixed(rule.value, value)))
        elif value is not None:
            try:
                translated = rule.value(value)
            except (ValueError, TypeError) as error:
                dropped.append((path, f"{value!r} cannot be translated: {error}"))
                continue
            if chosen.setdefault(rule.key, translated) != translated:
                raise UserError(
                    f"{sources[rule.key]} and {path} both mean {rule.key} and differ: "
                    f"{chosen[rule.key]} and {translated}"
                )
            sources.setdefault(rule.key, path)
        else:
            dropped.append((path, "is null"))
    implied = {**_IMPLIED, "forecast.steps": chosen.get("diffusion.noise_steps", 1000)}
    return _nested({**chosen, **implied}), dropped


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _rule(path: str) -> To | Fixed | Drop | None:
    section, _, key = path.rpartition(".")
    section = _SECTIONS.get(section, section)
    return _TABLE.get(section, {}).get(_SYNONYMS.get(key, key))


def _fixed(expected: Any, value: Any) -> str:
    if isinstance(expected, float) and isinstance(value, str):
        value = float(value)  # PyYAML reads 1e-4, without a point, as text
    if value == expected:
        return "always so here"
    return f"only {expected!r} is offered, so the translated model differs from yours ({value!r})"


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, key = path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return tree
