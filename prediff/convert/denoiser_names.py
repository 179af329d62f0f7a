"""Parameter names of the denoiser and the alignment network in the official checkpoints.

The rules look at whole name components wherever they stand, so the names of a single layer, such
as a `CuboidSelfAttention`, are translated as well as those of a whole network.
"""

import re

# Applied in this order to whole runs of components; `#` stands for a number that is kept.
_RULES = (
    ("entry.projection", "first_proj"),
    ("entry.position_embedding", "pos_embed"),
    ("entry.time_embedding.linear_1", "time_embed.layer.0"),
    ("entry.time_embedding.linear_2", "time_embed.layer.2"),
    ("final_projection", "final_proj"),
    ("mergings", "downsample_layers"),
    ("upsamplings", "upsample_layers"),
    ("down_levels.#.time_block", "down_time_embed_blocks.#"),
    ("down_levels.#.stacks.#", "down_self_blocks.#.#"),
    ("up_levels.#.time_block", "up_time_embed_blocks.#"),
    ("up_levels.#.stacks.#", "up_self_blocks.#.#"),
    ("feed_forwards.#.norm", "ffn_l.#.layer_norm"),
    ("feed_forwards", "ffn_l"),
    ("linear_1", "ffn_1"),
    ("linear_2", "ffn_2"),
    ("norm_1", "in_layers.0"),
    ("conv_1", "in_layers.2"),
    ("time_projection", "emb_layers.1"),
    ("norm_2", "out_layers.0"),
    ("conv_2", "out_layers.3"),
    ("skip", "skip_connection"),
    ("readout_norm", "out.0"),
    ("pool.qkv", "out.2.qkv_proj"),
    ("pool.projection", "out.2.c_proj"),
    ("pool.position_table", "out.2.positional_embedding"),
    ("attentions", "attn_l"),
    ("projection", "proj"),
    ("relative_bias", "relative_position_bias_table"),
    ("time", "T_embed.weight"),
    ("height", "H_embed.weight"),
    ("width", "W_embed.weight"),
)


def _compiled(ours: str, theirs: str) -> tuple[re.Pattern[str], str]:
    numbers = iter(range(1, 10))
    replacement = re.sub("#", lambda _: rf"\{next(numbers)}", theirs)
    components = re.escape(ours).replace(r"\#", r"(\d+)")
    return re.compile(rf"(?<![^.]){components}(?![^.])"), replacement


_PATTERNS = tuple(_compiled(ours, theirs) for ours, theirs in _RULES)


def denoiser_reference_name(name: str) -> str:
    """Translate one of our parameter names, such as ``entry.projection.conv_1.weight``.

    A name that no rule knows (an option that the reference lacks) comes back unchanged.

    Source: MODEL.md sections 2.9 and 5.
    """
    for pattern, replacement in _PATTERNS:
        name = pattern.sub(replacement, name)
    return name
