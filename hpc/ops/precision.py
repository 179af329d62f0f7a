"""Which dtypes products and convolutions may have here."""

import mindspore as ms
from mindspore import dtype as mstype

from hpc.errors import UserError

COMPUTE_DTYPES = (mstype.float32, mstype.float16, mstype.bfloat16)


def check_compute_dtype(dtype: mstype.Type) -> None:
    """Refuse a compute dtype that this device has no operators for.

    Raises:
        UserError: not a floating dtype of 16 or 32 bits, or bfloat16 on a CPU.
    """
    if dtype not in COMPUTE_DTYPES:
        raise UserError(f"compute_dtype {dtype} must be float32, float16 or bfloat16")
    if dtype == mstype.bfloat16 and ms.get_context("device_target") == "CPU":
        raise UserError(
            "compute_dtype bfloat16 has no operators on CPU hosts: use float32, or float16 to try"
        )
