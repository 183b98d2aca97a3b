"""Outcomes as tables to read and as JSON to keep."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .measure import Outcome, Samples

GIB = 1 << 30
MIB = 1 << 20
LIMITS = ("curl", "raw")
COLUMNS = (
    *("ms", "GB/s", "of curl", "of raw", "CPU s/GiB", "server's CPU s/GiB"),
    *("requests", "MiB moved", "extra MiB"),
)


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
    table = [list(row) for row in zip(*_told([["peer", *COLUMNS], *rows]), strict=True)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for number, row in enumerate(table):
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        lines.append(f"| {' | '.join(cells)} |")
        if number == 0:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            lines.append(f"| {' | '.join(rule)} |")
    lines += [f"\n{name} failed: {reason}" for name, reason in outcome.failed.items()]
    return "\n".join(lines) + "\n"


def _told(table: list[list[str]]) -> list[tuple[str, ...]]:
    """Return the columns in which there is anything."""
    return [column for column in zip(*table, strict=True) if len(table) == 1 or any(column[1:])]


def _by_speed(outcome: Outcome) -> list[tuple[str, Samples]]:
    return sorted(outcome.samples.items(), key=lambda item: item[1].median("seconds") or 0)


def _summary(outcome: Outcome, samples: Samples) -> dict[str, float | None]:
    case = outcome.case
    seconds = samples.median("seconds")
    cpu, grown = samples.median("cpu"), samples.median("grown")
    moved, server = samples.median("moved"), samples.median("server")
    assert seconds is not None
    return {
        "ms": seconds * 1e3,
        "GB/s": case.wanted / seconds / 1e9 if case.wanted else None,
        **{f"of {name}": _ratio(outcome, name, seconds) for name in LIMITS},
        "CPU s/GiB": cpu * GIB / case.wanted if cpu is not None and case.wanted else None,
        "server's CPU s/GiB": server * GIB / case.wanted if server is not None else None,
        "requests": samples.median("requests"),
        "MiB moved": moved / MIB if moved is not None else None,
        "extra MiB": (grown - case.result_bytes) / MIB if grown is not None else None,
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
