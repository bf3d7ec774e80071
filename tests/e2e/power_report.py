"""What many power cuts showed, in a table."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

Entry = dict[str, Any]


def report(entries: list[Entry]) -> tuple[list[str], int]:
    """Return the lines of a report, and how many promises were broken."""
    cuts = [it for it in entries if "aim" in it]
    ends = [it for it in entries if "end" in it]
    if not cuts:
        return ["no power was cut"], 0
    wrong = [(it.get("cycle", "end"), text) for it in entries for text in it["wrong"]]
    machines = ", ".join(sorted({it["machine"] for it in cuts}))
    lines = [
        f"# {len(cuts)} power cuts ({machines})",
        "",
        "| moment | cuts | of which met | blocks unflushed | lost | torn | broken |",
        "|---|---|---|---|---|---|---|",
    ]
    for aim, count in Counter(it["aim"] for it in cuts).most_common():
        chosen = [it for it in cuts if it["aim"] == aim]
        unflushed = sum(it["loss"]["unflushed"] for it in chosen)
        lost = unflushed - sum(it["loss"]["survived"] for it in chosen)
        torn = sum(it["loss"]["torn"] for it in chosen)
        met = sum(it["met"] for it in chosen)
        broken = sum(bool(it["wrong"]) for it in chosen)
        lines.append(
            f"| {aim} | {count} | {met} | {unflushed} | {lost} | {torn} | {broken} |"
        )
    booted = [it for it in cuts if it["begins"] == "booted"]
    # A cut while it boots may come before the first recording.
    awaited = [it for it in booted if "recorded" in it]
    came = [it for it in awaited if it["recorded"]]
    firsts = sorted(it["first_recording"] for it in came if it["first_recording"])
    in_memory = sum(not it["waiting_on_disk"] for it in cuts)
    lines += [
        "",
        (
            f"{in_memory} with recordings that wait in memory, "
            f"{len(cuts) - in_memory} with recordings that wait on the disk; "
            f"{sum(it['told'] > 0 for it in cuts)} with acknowledgements seen outside."
        ),
        (
            f"{len(booted)} cycles began with the boot after a cut; in {len(came)} of "
            f"{len(awaited)} in which it was waited for, the sensor recorded again."
        ),
    ]
    if firsts:
        lines.append(
            "Seconds from the boot's begin to the first sample: median "
            f"{statistics.median(firsts):.1f}, most {firsts[-1]:.1f}, within 60 s: "
            f"{sum(it <= 60 for it in firsts)} of {len(firsts)} (other work ran beside "
            f"it: load up to {max(it['load'][0] for it in came):.0f})."
        )
    for it in ends:
        lines.append(f"At rest after a batch: {it['states']}, {it['losses']}; messages")
        lines += [
            f"to {name}: {messages}, of which repeated {times - messages} times"
            for name, (messages, times) in it["arrived"].items()
        ]
    retries = sum(it["retries"] for it in ends)
    lines.append(f"Boots that were tried again: {retries}.")
    lines += ["", f"Broken promises: {len(wrong)}"]
    lines += [f"- {cycle}: {text[:300]}" for cycle, text in wrong[:50]]
    return lines, len(wrong)
