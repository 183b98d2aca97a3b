"""Outcomes as tables to read and as JSON to keep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .measure import Outcome, Samples

GIB = 1 << 30
MIB = 1 << 20
LIMITS = ("curl", "raw")
COLUMNS = ("ms", "GB/s", "of curl", "of raw", "CPU s/GiB", "requests", "MiB moved", "extra MiB")


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return a case's figures, every round of them."""
    return {
        "case": outcome.case.name,
        "title": outcome.case.title,
        "wanted_bytes": outcome.case.wanted,
        "peers": {
            name: {"summary": _summary(outcome, samples), "rounds": asdict(samples)}
            for name, samples in _by_speed(outcome)
        },
        "failed": outcome.failed,
    }


def as_table(outcome: Outcome) -> str:
    """Return a case's figures as a table in Markdown."""
    case = outcome.case
    wanted = f", {case.wanted / MIB:,.1f} MiB wanted" if case.wanted else ""
    lines = [f"### {case.name}: {case.title}{wanted}", ""]
    rows = [
        [name, *(_text(_summary(outcome, samples)[column]) for column in COLUMNS)]
        for name, samples in _by_speed(outcome)
    ]
    table = [["peer", *COLUMNS], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for number, row in enumerate(table):
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        lines.append(f"| {' | '.join(cells)} |")
        if number == 0:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            lines.append(f"| {' | '.join(rule)} |")
    lines += [f"\n{name} failed: {reason}" for name, reason in outcome.failed.items()]
    return "\n".join(lines) + "\n"


def _by_speed(outcome: Outcome) -> list[tuple[str, Samples]]:
    return sorted(outcome.samples.items(), key=lambda item: item[1].median("seconds") or 0)


def _summary(outcome: Outcome, samples: Samples) -> dict[str, float | None]:
    case = outcome.case
    seconds = samples.median("seconds")
    cpu, grown = samples.median("cpu"), samples.median("grown")
    moved = samples.median("moved")
    assert seconds is not None
    result = 0 if case.task.action == "into" else case.wanted
    return {
        "ms": seconds * 1e3,
        "GB/s": case.wanted / seconds / 1e9 if case.wanted else None,
        **{f"of {name}": _ratio(outcome, name, seconds) for name in LIMITS},
        "CPU s/GiB": cpu * GIB / case.wanted if cpu is not None and case.wanted else None,
        "requests": samples.median("requests"),
        "MiB moved": moved / MIB if moved is not None else None,
        "extra MiB": (grown - result) / MIB if grown is not None else None,
    }


def _ratio(outcome: Outcome, limit: str, seconds: float) -> float | None:
    if limit not in outcome.samples or not outcome.case.wanted:
        return None
    best = outcome.samples[limit].median("seconds")
    return best / seconds if best is not None else None


def _text(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
