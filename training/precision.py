"""Which precision a computation has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch


def available(precision: Literal["no", "bf16"]) -> Literal["no", "bf16"]:
    """A recipe's mixed precision, but "no", float32, on CPUs without bfloat16, whose imitation is 15 times slower."""
    has_bfloat16 = torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return precision if has_bfloat16 else "no"


@contextmanager
def float32() -> Iterator[None]:
    """Convolutions on a GPU in float32, not in TF32 with its 10 bits, for estimates and validation."""
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=torch.backends.cudnn.benchmark,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    ):
        yield
