"""Whether a layer may use the native fused operators of hpc/ops/native here."""

import logging
from collections.abc import Callable
from functools import cache

import mindspore as ms
from mindspore import nn

from hpc.ops.native.library import LibraryUnavailable

_log = logging.getLogger(__name__)


def fused_or_none(make: Callable[[], nn.Cell]) -> nn.Cell | None:
    """Return ``make()`` on CPU hosts, or None where the framework's operators serve.

    They serve on Ascend, whose own are fused, and where the native library cannot be built; the
    reason is then logged once.
    """
    if ms.get_context("device_target") != "CPU":
        return None
    try:
        return make()
    except LibraryUnavailable as error:
        _log_once(f"norms and GELU use MindSpore's slower kernels: {error}")
        return None


@cache
def _log_once(message: str) -> None:
    _log.warning(message)
