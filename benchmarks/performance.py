"""docs/performance.md and its pictures, from the committed records: python -m benchmarks.performance

It measures nothing. `make bench` runs the benchmarks that write the records, then this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from export.cards import shelf
from zoo.cli.shell import run_script
from zoo.files import replacing, write_whole
from zoo.records import aim

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BLUE, ORANGE, GREY = "#1f77b4", "#e08a00", "#8a8a8a"
OURS = "ours, proved"

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "certified-zoo"})  # the same bytes each time

Rows = list[list[str]]


def main() -> None:
    """Write the page's tables and pictures anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in {
        "constants": constants(record("peers")),
        "images": images(record("peers")),
        "graphs": graphs(record("graph")),
        "certification": certification(record("bounds")),
        "growth": growth(record("growth")),
        "imagenet": imagenet(record("imagenet")),
        "engines": engines(record("engines")),
    }.items():
        text = filled(text, name, table)
    write_whole(PAGE, text)
    attacked(PAGE.with_name("certified.svg"))
    peers(record("peers"), PAGE.with_name("peers.svg"))


def record(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_bytes())


def filled(page: str, name: str, rows: Rows) -> str:
    """The page with this table between its two marks."""
    before, rest = page.split(f"<!-- {name} -->\n")
    _, after = rest.split("<!-- end -->\n", 1)
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    line = "|" + "---|" * len(rows[0])
    return f"{before}<!-- {name} -->\n" + "\n".join([head, line, *body]) + f"\n<!-- end -->\n{after}"


def constants(results: dict[str, Any]) -> Rows:
    rows = [["model", "method", "constant over ours", "least of a layer", "layers", "CPU s"]]
    for name, model in results["models"].items():
        for method, row in model["constant"].items():
            if method == OURS:
                cells = ["1", "1", "all"]
            else:
                cells = [f"{row['over ours']:.4f}", f"{row['least of a layer']:.4f}", str(row["layers"])]
            rows.append([name, method, *cells, f"{row['seconds']:.2f}"])
    return rows


def images(results: dict[str, Any]) -> Rows:
    rows = [["model", "epsilon", "method", "right and certified", "of", "CPU s an image"]]
    for name, model in results["models"].items():
        for method, row in model["images"].items():
            share = [f"{100 * row['certified']:.1f} %", f"{row['of']:,}"] if "certified" in row else ["not run", ""]
            rows.append([name, model["epsilon"], method, *share, f"{row['seconds']:.3g}"])
    return rows


def graphs(results: dict[str, Any]) -> Rows:
    batches = ("1 images", "8 images", "32 images")
    rows = [["model", *(f"{batch.split()[0]} image{'s' * (batch != batches[0])}" for batch in batches), "MiB"]]
    for name, row in results["models"].items():
        rows.append(
            [name, *(f"{row[batch]['float64 / float32']:.2f}" for batch in batches), f"{row['MiB of the session']:.0f}"]
        )
    return rows


def certification(results: dict[str, Any]) -> Rows:
    rows = [["network", "layers", "bound / estimate", "s", "CPU s", "peak MiB"]]
    for name, row in results.items():
        ratio = f"{row['bound_over_estimate']['network']:.3f}"
        rows.append(
            [name, str(row["layers"]), ratio, f"{row['seconds']}", f"{row['cpu_seconds']}", f"{row['peak_mib']:,}"]
        )
    return rows


def growth(results: dict[str, Any]) -> Rows:
    rows = [["what grows", "to", "CPU s", "MiB added"]]
    for field, sizes in results["sizes"].items():
        for value, row in sizes.items():
            rows.append([field.replace("_", " "), value, f"{row['cpu_seconds']:.1f}", f"{row['added_mib']:,}"])
    return rows


def imagenet(results: dict[str, Any]) -> Rows:
    rows = [["graph", "images a second", "floor of the arithmetic"]]
    for name, row in results.items():
        rows.append([name, f"{row['images/s']:.2f}", f"{row['floor images/s']:.2f}" if "floor images/s" in row else ""])
    return rows


def engines(results: dict[str, Any]) -> Rows:
    seconds = results["seconds"]
    rows = [["how", "s", "images a second"], ["zoo evaluate", seconds["zoo evaluate"]]]
    rows += [[f"datasets.map, num_proc={count}", spent] for count, spent in seconds["datasets.map"].items()]
    return [rows[0], *([how, f"{spent:.1f}", f"{results['images'] / spent:.0f}"] for how, spent in rows[1:])]


def attacked(path: Path) -> None:
    """For each published model of pictures, at its own epsilon: certified, what the attack leaves, clean accuracy."""
    found = [folder for folder in shelf() if folder.evaluation.pgd_accuracy and folder.config.input_shape[1] > 1]
    rows = []
    for folder in found:
        epsilon, evaluation = aim(folder.config, folder.evaluation), folder.evaluation
        proved = evaluation.attacked_vra(epsilon)
        rows.append(
            (f"{folder.config.name}, {epsilon}", proved, evaluation.pgd_accuracy[epsilon], evaluation.clean_accuracy)
        )
    rows.sort(key=lambda row: row[1])
    figure = Figure(figsize=(8, 0.24 * len(rows) + 1), layout="constrained")
    axes = figure.add_subplot()
    for height, (_, proved, left, clean) in enumerate(rows):
        axes.plot([100 * proved, 100 * left], [height, height], color=GREY, linewidth=2, zorder=1)
        axes.plot([100 * clean], [height], "|", color=GREY, markersize=9)
        axes.plot([100 * proved], [height], "o", color=BLUE)
        axes.plot([100 * left], [height], "D", color=ORANGE, markersize=5)
    for label, mark, colour in (("certified", "o", BLUE), ("an attack leaves", "D", ORANGE), ("clean", "|", GREY)):
        axes.plot([], [], mark, color=colour, label=label)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=8)
    axes.set_xlabel("% of the first test images, at the model's own epsilon (clean: of all)")
    axes.set_xlim(0, 100)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    _save(figure, path)


def peers(results: dict[str, Any], path: Path) -> None:
    """CPU time of an image by method, and what each says of it."""
    models = results["models"]
    methods = list(dict.fromkeys(method for row in models.values() for method in row["images"]))
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(methods)
    for index, (method, colour) in enumerate(zip(methods, (BLUE, GREY, "#bbbbbb", ORANGE), strict=False)):
        for place, row in enumerate(models.values()):
            if method not in row["images"]:
                continue
            entry = row["images"][method]
            axes.barh(
                place + (index - 1.5) * height,
                entry["seconds"],
                height,
                color=colour,
                label=method if not place else "",
            )
            share = f" {100 * entry['certified']:.0f} % certified" if "certified" in entry else ""
            axes.text(entry["seconds"], place + (index - 1.5) * height, share, va="center", fontsize=7)
    axes.set_xscale("log")
    axes.set_yticks(range(len(models)), [f"{name}, {row['epsilon']}" for name, row in models.items()], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds for one image (log)")
    axes.set_xlim(right=1e3)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    run_script(main, "python -m benchmarks.performance")
