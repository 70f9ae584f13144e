"""One thread for PyTorch: the matrices here are small, and the tests often share their cores. And the same numbers."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def same_weights_in_every_run() -> None:
    """Layers draw theirs from PyTorch's generator: what kills a mutant today kills it tomorrow."""
    torch.manual_seed(0)
