"""The table of docs/soundness.md: what benchmarks/soundness.json says, in rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "soundness.md"
MARKS = "<!-- figures -->", "<!-- end of figures -->"
COLUMNS = (  # heading, part, figures
    ("pairs", "pairs", "{pairs:,}"),
    ("nearest", "pairs", "1 + {excess:.2g}"),
    ("attacks", "attacks", "{starts:,}"),
    ("share of the drop", "attacks", "{largest share of the allowed drop:.4f}"),
    ("share of T", "replay", "{largest share of T:.1e}"),
    ("second verifier", "second verifier", "{verdict}, {seconds:.0f} s"),
)


def rendered(page: str, results: dict[str, Any]) -> str:
    """The page with the figures of these results in the place of those that it has."""
    before, rest = page.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{_table(results)}\n{MARKS[1]}{after}"


def _table(results: dict[str, Any]) -> str:
    heads = " | ".join(heading for heading, *_ in COLUMNS)
    lines = [f"| model | {heads} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, row in results["models"].items():
        cells = [_cell(row[part], text) if part in row else "" for _, part, text in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    totals = [
        sum(row[part][count] for row in results["models"].values() if part in row)
        for part, count in (("pairs", "pairs"), ("attacks", "starts"))
    ]
    violations = sum(
        part["violations"] for row in results["models"].values() for part in row.values() if isinstance(part, dict)
    )
    summary = f"{totals[0]:,} pairs, {totals[1]:,} attacks, {violations} violations, on {results['machine']}."
    return "\n".join([*lines, "", summary, *_forgeries(results)])


def _cell(part: dict[str, Any], text: str) -> str:
    if "smallest ratio" in part:
        part = {**part, "excess": part["smallest ratio"] - 1}
    if "holds" in part:
        part = {**part, "verdict": "holds" if part["holds"] else "FAILS" if part["violations"] else "not checked"}
    return text.format_map(part)


def _forgeries(results: dict[str, Any]) -> list[str]:
    row = results.get("forgeries", {"mutants": 0})
    if not row["mutants"]:
        return []
    outcomes = "; ".join(f"{outcome} {count:,}" for outcome, count in sorted(row["outcomes"].items()))
    told = f"{row['mutants']:,} mutants of {row['folder']} and {row['parsed files']:,} files for the parsers"
    return ["", f"{told}, {len(row['wrong'])} wrong: {outcomes}."]
