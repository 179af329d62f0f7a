"""MindEarth's ``.ckpt`` files: MindSpore checkpoints whose names become the reference's."""

from pathlib import Path

import mindspore as ms
import numpy as np

from hpc.errors import UserError

# MindSpore's layers name the same arrays differently from PyTorch's.
_ENDINGS = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
_TABLES = {
    "pos_embed.t_embed.": "pos_embed.T_embed.",
    "pos_embed.h_embed.": "pos_embed.H_embed.",
    "pos_embed.w_embed.": "pos_embed.W_embed.",
}
# nn.Conv1d keeps its weight as [out, in, 1, kernel].
_CONV1D = (".qkv_proj.weight", ".c_proj.weight")


def read_mindspore(path: Path) -> dict[str, np.ndarray]:
    """Read a MindSpore checkpoint under the reference's parameter names.

    Wrapper prefixes (``net.``, ``main_model.``) stay; ``networks.network_entries`` removes them.

    Raises:
        UserError: not a MindSpore checkpoint, or damaged.
    """
    try:
        parameters = ms.load_checkpoint(str(path))
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path}: neither PyTorch, nor safetensors, nor a readable MindSpore file ({reason})"
        ) from None
    state: dict[str, np.ndarray] = {}
    for name, parameter in parameters.items():
        renamed = reference_name(name)
        if renamed in state:
            raise UserError(f"{path}: two parameters mean {renamed}")
        array = parameter.asnumpy()
        if renamed.endswith(_CONV1D) and array.ndim == 4:
            array = array[:, :, 0, :]
        state[renamed] = array
    return state


def reference_name(name: str) -> str:
    """Translate one of MindSpore's parameter names, such as ``norm.gamma`` to ``norm.weight``."""
    stem, _, ending = name.rpartition(".")
    renamed = f"{stem}.{_ENDINGS.get(ending, ending)}" if stem else name
    for theirs, ours in _TABLES.items():
        renamed = renamed.replace(theirs, ours)
    return renamed
