"""A data set's answers by number of processes: python -m benchmarks.engines [--images 4000]

Wall time of `zoo evaluate` on the first images of CIFAR-10's test split, and of the same images in Hugging Face's
`datasets.map` with `CertifyColumn` and one, two and four processes, starts of processes included. Every run decodes the
pictures. It also says whether all of them agree on every radius.
Results: benchmarks/engines.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import datasets
import pyarrow.parquet
import typer

from zoo.cli.shell import run_script
from zoo.data.datasets import DATASETS
from zoo.data.splits import split_files
from zoo.files import write_whole
from zoo.integrations.columns import CertifyColumn
from zoo.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
NAME, DATASET = "liresnet-l4w32-cifar10-jpeg75", "cifar10-jpeg75"
PROCESSES = (1, 2, 4)


def main(images: Annotated[int, typer.Option(min=1)] = 4000) -> None:
    """Measure, anew."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.parquet"
        command = [sys.executable, "-m", "zoo", "evaluate", NAME, DATASET, "--limit", str(images)]
        began = time.perf_counter()
        subprocess.run([*command, "--output", str(rows)], check=True, stdout=subprocess.DEVNULL)
        seconds: dict[str, Any] = {"zoo evaluate": round(time.perf_counter() - began, 1), "datasets.map": {}}
        radii = pyarrow.parquet.read_table(rows)["radius"].to_pylist()
        files = [str(path) for path in split_files(DATASETS[DATASET], "test").paths]
        dataset = datasets.load_dataset("parquet", data_files=files, split=f"train[:{images}]", cache_dir=scratch)
        dataset = dataset.cast_column(dataset.column_names[0], datasets.Image(decode=False))
        certify, agree = CertifyColumn(NAME, image=dataset.column_names[0]), True
        for count in PROCESSES:
            began = time.perf_counter()
            answers = dataset.map(
                certify, batched=True, batch_size=256, num_proc=count, load_from_cache_file=False,
                remove_columns=dataset.column_names,
            )  # fmt: skip
            seconds["datasets.map"][str(count)] = round(time.perf_counter() - began, 1)
            agree &= answers["radius"][:] == radii
    results: dict[str, Any] = {"model": NAME, "images": images, "seconds": seconds, "all radii agree": agree}
    results["machine"] = f"{machine()}, load {os.getloadavg()[0]:.1f}"
    print(json.dumps(results, indent=1))
    write_whole(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.engines")
