"""Which precision a computation has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch


def available(precision: Literal["no", "bf16"], device: torch.device) -> Literal["no", "bf16"]:
    """A recipe's mixed precision, but "no", float32, on CPUs that have neither AVX512-BF16 nor AMX.

    There PyTorch imitates bfloat16, up to 15 times slower than float32.
    """
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "no"
    return precision


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
