"""The autoencoder's parameter names in the official checkpoint."""

import re

# Rewritten in this order, each at most once; `#` stands for a number that is kept.
_RULES = (
    ("encoder.moments", "quant_conv"),
    ("decoder.latent_in", "post_quant_conv"),
    ("encoder.blocks.#.", "encoder.down_blocks.#."),
    ("decoder.blocks.#.", "decoder.up_blocks.#."),
    (".residuals.", ".resnets."),
    (".shortcut.", ".conv_shortcut."),
    ("down_blocks.#.resample.", "down_blocks.#.downsamplers.0."),
    ("up_blocks.#.resample.", "up_blocks.#.upsamplers.0."),
    (".middle.residual1.", ".mid_block.resnets.0."),
    (".middle.residual2.", ".mid_block.resnets.1."),
    (".middle.attention.", ".mid_block.attentions.0."),
    (".attentions.0.norm.", ".attentions.0.group_norm."),
    (".attentions.0.out.", ".attentions.0.proj_attn."),
    (".norm_out.", ".conv_norm_out."),
)
_PATTERNS = tuple(
    (re.compile(re.escape(ours).replace(r"\#", r"(\d+)")), theirs.replace("#", r"\1"))
    for ours, theirs in _RULES
)


def autoencoder_reference_name(name: str) -> str:
    """Translate one of our parameter names, such as ``encoder.moments.weight``."""
    for pattern, replacement in _PATTERNS:
        name = pattern.sub(replacement, name, count=1)
    return name
