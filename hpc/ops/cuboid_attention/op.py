"""The cuboid-attention operator: one Cell, several backends that mean the same.

Shapes: B batch; T, H, W padded grid; h heads; D width of a head; C = h*D; N cuboids; L tokens of a
cuboid; R relative positions; G global vectors.
"""

import logging
from functools import cache

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from hpc.errors import UserError
from hpc.ops.cuboid_attention.ascend import AscendCuboidAttention, operator_installed
from hpc.ops.cuboid_attention.geometry import CuboidGeometry, relative_position_count
from hpc.ops.cuboid_attention.native import NativeCuboidAttention
from hpc.ops.cuboid_attention.plan import plan_error
from hpc.ops.cuboid_attention.reference import ReferenceCuboidAttention
from hpc.ops.native.library import LibraryUnavailable

LARGEST_VOLUME = 64
WIDTH_MULTIPLE = 16

MAKERS: dict[str, type[nn.Cell]] = {
    "native": NativeCuboidAttention,
    "ascend": AscendCuboidAttention,
}

_log = logging.getLogger(__name__)


class CuboidAttention(nn.Cell):
    """Attention within the cuboids of a grid: ``construct(qkv, table) -> [B,T,H,W,C]``.

    The arguments are those of :class:`ReferenceCuboidAttention`, which defines the result: qkv
    `[B,T,H,W,3,h,D]`, table `[R,h]` or None, and optionally dropout `[B,N,h,L,L]`, global_keys and
    global_values `[B,h,G,D]`. Calls with global vectors, or with a dtype that the chosen backend
    does not know, are computed by the reference.

    Args:
        geometry: how the grid is cut.
        heads: h.
        width: D.
        scale: factor of q; D**-0.5 if not given.
        backend: "auto", "reference" or one of `MAKERS`. "auto" takes the fused operator of the
            device, and the reference where there is none; the reason is logged once.

    Attributes:
        backend: the backend in use.

    Raises:
        UserError: an unknown backend, or a named backend that cannot compute these shapes.
    """

    def __init__(
        self,
        geometry: CuboidGeometry,
        *,
        heads: int,
        width: int,
        scale: float | None = None,
        backend: str = "auto",
    ):
        super().__init__()
        scale = width**-0.5 if scale is None else scale
        self.reference = ReferenceCuboidAttention(geometry, scale=scale)
        self.fused, self.backend = _fused_or_none(geometry, heads, width, scale, backend)
        self.takes_bfloat16 = getattr(self.fused, "runs_kernels", False)
        rows = relative_position_count(geometry.built_size)
        self.no_table = Tensor(np.zeros((rows, heads), np.float32))
        self.no_dropout = Tensor(np.zeros(1, np.float32))

    def construct(self, qkv, table, dropout=None, global_keys=None, global_values=None):
        known_dtype = qkv.dtype in (ms.float32, ms.float16)
        if self.takes_bfloat16 and qkv.dtype == ms.bfloat16:
            known_dtype = True
        if self.fused is None or global_keys is not None or not known_dtype:
            return self.reference(qkv, table, dropout, global_keys, global_values)
        if table is None:
            table = self.no_table
        if dropout is None:
            dropout = self.no_dropout
        return self.fused(qkv, table, dropout)


def unsupported_shape(geometry: CuboidGeometry, width: int) -> str | None:
    """Return why the fused operators cannot compute this geometry, or None where they can."""
    if geometry.volume > LARGEST_VOLUME:
        return f"a cuboid has {geometry.volume} tokens, the fused operator takes {LARGEST_VOLUME}"
    if width % WIDTH_MULTIPLE:
        return f"the width of a head, {width}, is not a multiple of {WIDTH_MULTIPLE}"
    return None


def _fused_or_none(
    geometry: CuboidGeometry, heads: int, width: int, scale: float, backend: str
) -> tuple[nn.Cell | None, str]:
    known = ("auto", *MAKERS, "reference")
    if backend not in known:
        raise UserError(f"attention backend {backend!r} is unknown: choose {', '.join(known)}")
    if backend == "reference":
        return None, "reference"
    device = ms.get_context("device_target")
    chosen = {"CPU": "native", "Ascend": "ascend"}.get(device) if backend == "auto" else backend
    try:
        reason = unsupported_shape(geometry, width)
        if reason is None and chosen and MAKERS[chosen].runs_kernels:
            reason = plan_error(geometry, heads=heads, width=width)
        if reason and backend != "auto":
            raise UserError(f"attention backend {backend!r}: {reason}; choose 'reference'")
        if reason is None:
            reason = _missing_device(chosen, device)
        if reason is None:
            return MAKERS[chosen](geometry, scale=scale), chosen
    except LibraryUnavailable as error:
        reason = str(error)
    _log_once(f"cuboid attention is computed by the reference composition: {reason}")
    return None, "reference"


def _missing_device(chosen: str | None, device: str) -> str | None:
    """Return why the chosen backend cannot run on this device, or None where it can."""
    if chosen is None:
        return f"there is no fused operator for {device}"
    if chosen == "ascend":
        if device != "Ascend":
            return f"the ascend operator needs an Ascend device, this is {device}"
        if not operator_installed():
            return "the operator is not installed; run hpc/ops/cuboid_attention/build_ascend.sh"
    elif device != "CPU":
        return f"the {chosen} operator runs on CPU hosts, this is {device}"
    return None


@cache
def _log_once(message: str) -> None:
    _log.warning(message)


__all__ = ["MAKERS", "CuboidAttention", "unsupported_shape"]
