"""Images a second of the data, and what certification adds to a training step: python -m benchmarks.training

Runs on the GPU if there is one, else on as many threads as OMP_NUM_THREADS says. A certified step, a plain one
(cross-entropy, no Lipschitz estimate) and a certified one whose network computes in bfloat16, where the machine has it,
take turns on the same network and batch, so that other processes slow all of them down alike; their medians are
compared. SOC has nothing to estimate, so that its convolutions are compared with plain ones of the same shape. On a CPU
convolutions of 3 x 3, forwards and back, by Toom-Cook products are compared with PyTorch's. Results:
benchmarks/training.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from training.augment import Affine, Augmentation, ColorJitter, Crop, Cutout, Flip, RandAugment
from training.data import InMemory
from training.estimate import LipschitzEstimate
from training.feed import Feed
from training.layers import constrain
from training.liplt import LipLTEstimate
from training.losses import emma
from training.precision import available
from training.toomcook import FastConvolutions, convolve
from zoo.cli.shell import run_script
from zoo.files import write_whole
from zoo.layers import ConvExponential
from zoo.machine import machine
from zoo.registry import find

RESULTS = Path(__file__).with_suffix(".json")
ITERATIONS = 10  # of the power method in each step
NETWORKS = {  # each with what estimates its constants in training
    "liresnet-l4w32-cifar10": LipschitzEstimate,
    "liresnet-l6w128-cifar10": LipschitzEstimate,
    "6c2f-cifar10": LipschitzEstimate,
    "6c2f-liplt-cifar10": LipLTEstimate,
    "lipconvnet-5w8-cifar10": LipschitzEstimate,  # SOC
}
CHANNELS = (32, 48, 64, 96, 128, 256)
AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "crop, flip": (Crop(4), Flip()),
    "crop, RandAugment, flip (LiResNet)": (Crop(4), RandAugment(), Flip()),
    "crop, RandAugment, flip, Cutout (LiResNet, Tiny-ImageNet)": (Crop(4), RandAugment(), Flip(), Cutout(16)),
    "crop, flip, jitter, rotation (CLL)": (Crop(4), Flip(), ColorJitter(0.25, 0.25, 0.25), Affine(2)),
}


def cifar(count: int, device: torch.device) -> InMemory:
    """Random images of CIFAR-10's size."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return InMemory(images.to(device), torch.randint(0, 10, (count,), generator=generator).to(device))


def data(name: str, device: torch.device, seconds: float) -> dict[str, object]:
    """Images a second that come out of a feed with batches of 256."""
    feed = Feed(cifar(50_000, device), 256, AUGMENTATIONS[name], seed=0)
    batches, count = feed.batches(0, 10**9), 0
    for _ in range(3):
        next(batches)
    synchronize(device)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for images, _ in next(batches):
            count += len(images)
    synchronize(device)
    return {"augmentations": name, "images_per_second": round(count / (time.perf_counter() - start))}


def step(name: str, certified: bool, device: torch.device, batch: int, bf16: bool = False) -> Callable[[], None]:
    """A training step of a network of its own."""
    architecture = find(name).architecture
    torch.manual_seed(0)
    network = constrain(architecture.network(), architecture)
    if not certified:
        unconstrain(network)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(network, opt="lookahead_nadam", lr=1e-3, weight_decay=0.0)
    estimate = NETWORKS[name](network, architecture.input_shape, 0, ITERATIONS) if certified else None
    source = cifar(batch, device)
    images = (source.images.float() / 255).contiguous(memory_format=torch.channels_last)

    def logits() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16), FastConvolutions():
            return network(images).float()

    def run() -> None:
        with parametrize.cached():
            if estimate is not None:
                margins = estimate.margins(estimate())
                loss = emma(logits(), source.labels, margins, 36 / 255)
            else:
                loss = F.cross_entropy(logits(), source.labels)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 3.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def unconstrain(network: nn.Sequential) -> None:
    """A convolution in the place of each exponential of one."""
    for name, layer in network.named_children():
        if isinstance(layer, ConvExponential):
            channels, _, side, _ = layer.weight.shape
            setattr(network, name, nn.Conv2d(channels, channels, side, padding=side // 2))


def overhead(name: str, device: torch.device, batch: int, rounds: int) -> dict[str, object]:
    """Median milliseconds of each step, and the median ratio of a certified and a plain one that took turns."""
    kinds = {"certified": (True, False), "plain": (False, False)}
    if available("bf16", device) == "bf16":
        kinds["certified_bf16"] = (True, True)
    times = turns([step(name, certified, device, batch, bf16) for certified, bf16 in kinds.values()], device, rounds)
    return {
        "name": name,
        "estimate": "LipLT" if NETWORKS[name] is LipLTEstimate else "product",
        "batch": batch,
        **{f"{kind}_step_ms": median_ms(column) for kind, column in zip(kinds, times, strict=True)},
        "factor": median_ratio(times[0], times[1]),
    }


def convolution(channels: int, rounds: int) -> dict[str, object]:
    """A convolution of 128 maps of 16 x 16 and its gradients, by PyTorch and by Toom-Cook products."""
    images = torch.randn(128, channels, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    ones = torch.ones_like(images)
    runs = [
        lambda: layer(images).backward(ones),
        lambda: convolve(images, layer.weight, layer.bias).backward(ones),  # type: ignore[arg-type]
    ]
    direct, products = turns(runs, torch.device("cpu"), rounds)
    times = {"pytorch_ms": median_ms(direct), "toomcook_ms": median_ms(products)}
    return {"channels": channels, **times, "factor": median_ratio(direct, products)}


def turns(runs: Sequence[Callable[[], None]], device: torch.device, rounds: int) -> list[tuple[float, ...]]:
    """The seconds of each run, once for each round, after one round that does not count."""
    times = []
    for _ in range(rounds + 1):
        row = []
        for run in runs:
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            row.append(time.perf_counter() - start)
        times.append(row)
    return list(zip(*times[1:], strict=True))


def median_ms(times: Sequence[float]) -> float:
    return round(1e3 * statistics.median(times), 2)


def median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(times, others, strict=True)), 3)


def synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def main() -> None:
    """Time the steps of training and write training.json anew."""
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    cpu = device.type == "cpu"
    where = machine() + (f", {torch.get_num_threads()} threads" if cpu else f", {torch.cuda.get_device_name()}")
    rows = [data(name, device, 3 if cpu else 5) for name in AUGMENTATIONS]
    print(json.dumps(rows, indent=1))
    networks = [overhead(name, device, 128 if cpu else 256, 7 if cpu else 50) for name in NETWORKS]
    print(json.dumps(networks, indent=1))
    convolutions = [convolution(channels, 15) for channels in CHANNELS] if cpu else []
    print(json.dumps(convolutions, indent=1))
    report = {"machine": where, "torch": torch.__version__, "power_iterations": ITERATIONS}
    report |= {"data": rows, "steps": networks, "convolutions": convolutions}
    write_whole(RESULTS, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.training")
