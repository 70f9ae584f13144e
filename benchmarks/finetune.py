"""Fine-tuning a published model on few pictures beside training from scratch: python -m benchmarks.finetune

500 training images of CIFAR-10-jpeg75, 50 of each class, stand for somebody's own data. LiResNet L4W32 is trained at 64
pixels with equal settings and epochs, from random weights and from the model trained on Tiny-ImageNet, with three seeds
each, and measured once, at the end, by the proved graph on the first 1,000 test images.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

import training
from export.publish import publish
from zoo.cli.shell import run_script
from zoo.data.splits import load_split
from zoo.files import write_whole
from zoo.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
DATA, START, EPSILON = "cifar10-jpeg75", "liresnet-l4w32-tiny-imagenet", "36/255"
EACH, TEST, EPOCHS, SEEDS = 50, 1_000, 30, (0, 1, 2)


def write_pictures(folder: Path) -> tuple[Path, Path]:
    """Training and test pictures as .npz files."""
    files = []
    for split in ("train", "test"):
        found = load_split(DATA, split)
        images, labels = np.asarray(found.images), np.asarray(found.labels)
        chosen = [np.flatnonzero(labels == label)[:EACH] for label in range(labels.max() + 1)]
        indices = np.concatenate(chosen) if split == "train" else np.arange(TEST)
        files.append(folder / f"{split}.npz")
        np.savez(files[-1], images=images[indices], labels=labels[indices])
    return files[0], files[1]


def main() -> None:
    """Train six models, measure them and write finetune.json anew."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        train, test = write_pictures(Path(scratch))
        for seed in SEEDS:
            for init in (None, START):
                output, began = Path(scratch) / f"{seed}-{init or 'scratch'}", time.process_time()
                training.train(
                    "liresnet-l4w32",
                    output,
                    data=train,
                    test=test,
                    name="few",
                    size=64,
                    init=init,
                    epochs=EPOCHS,
                    seed=seed,
                )
                seconds = time.process_time() - began
                measured = publish(output, attack_images=0).evaluation
                row = {"seed": seed, "from": init or "scratch", "core-seconds": round(seconds)}
                row |= {"clean": round(100 * measured.clean_accuracy, 2), "vra": round(100 * measured.vra[EPSILON], 2)}
                rows.append(row)
                print(json.dumps(row), flush=True)
    record = {"command": "python -m benchmarks.finetune", "machine": machine(), "epochs": EPOCHS, "epsilon": EPSILON}
    write_whole(RESULTS, json.dumps({**record, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.finetune")
