"""What a measurement by clicks prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nucleate.orchestrator.cli.terminal.printing import duration, show_table
from nucleate.v1 import annotator_pb2 as pb


def as_figures(result: pb.BenchClicksResult, target_pq: float) -> dict[str, Any]:
    """The figures under the names that scripts know: intervals are [low, high], times milliseconds, shares 0..1."""
    noc = {f"noc{round(100 * each.target_iou)}": each for each in result.noc}
    found: dict[str, Any] = {
        "n": result.n,
        "iou1": result.iou[0],
        **{name: each.mean for name, each in noc.items()},
        "honoured": result.honoured,
        "honoured_by_network": result.honoured_by_network,
        "p50_ms": result.milliseconds.p50,
        "p90_ms": result.milliseconds.p90,
        "p99_ms": result.milliseconds.p99,
        "call_p50_ms": result.call_milliseconds.p50,
        "call_p90_ms": result.call_milliseconds.p90,
        "call_p99_ms": result.call_milliseconds.p99,
        "evaluations": result.evaluations,
        "worsened": result.worsened,
        "failures": {name: each.failures for name, each in noc.items()},
        "iou": list(result.iou),
        "intervals": {
            "iou1": _span(result.iou_intervals[0]),
            **{name: _span(each) for name, each in noc.items()},
            "iou": [_span(each) for each in result.iou_intervals],
        },
        "left_out": result.left_out,
        "opening_seconds": result.opening_seconds,
    }
    if result.patches:
        found["patches"] = _patches(result.patches, target_pq)
    return found


def _patches(patches: Sequence[pb.PatchResult], target_pq: float) -> dict[str, Any]:
    """Clicks per nucleus over all windows together, mean PQ, and a row a window."""
    clicks, nuclei = sum(each.clicks for each in patches), sum(each.nuclei for each in patches)
    return {
        "n": len(patches),
        "reached": sum(each.pq_after >= target_pq for each in patches),
        "target_pq": target_pq,
        "clicks": clicks,
        "nuclei": nuclei,
        "clicks_per_nucleus": clicks / nuclei,
        "pq_before": sum(each.pq_before for each in patches) / len(patches),
        "pq_after": sum(each.pq_after for each in patches) / len(patches),
        "seconds": sum(each.seconds for each in patches),
        "rows": [
            {
                "image": each.id,
                "window": [each.window.x, each.window.y, each.window.width, each.window.height],
                "nuclei": each.nuclei,
                "clicks": each.clicks,
                "pq_before": each.pq_before,
                "pq_after": each.pq_after,
                "seconds": each.seconds,
            }
            for each in patches
        ],
    }


def _span(interval: pb.Interval | pb.NumberOfClicks) -> list[float]:
    return [interval.low, interval.high]


def show_figures(found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    rows = [("mean IoU after 1 click", f"{found['iou1']:.3f}", _interval_text(found["intervals"]["iou1"]), "")]
    for name, failures in found["failures"].items():
        label = f"clicks to IoU .{name.removeprefix('noc')}"
        rows.append((label, f"{found[name]:.2f}", _interval_text(found["intervals"][name]), f"{failures} never"))
    rows += [
        (
            "clicks honoured",
            f"{100 * found['honoured']:.2f} %",
            "",
            f"{100 * found['honoured_by_network']:.2f} % by the network",
        ),
        ("clicks that made it worse", f"{100 * found['worsened']:.1f} %", "", ""),
        ("evaluations a click", f"{found['evaluations']:.2f}", "", ""),
        *(
            (
                label,
                f"{found[key + 'p50_ms']:.0f} ms",
                "",
                f"p90 {found[key + 'p90_ms']:.0f}, p99 {found[key + 'p99_ms']:.0f} ms",
            )
            for label, key in (("time of a click, service", ""), ("time of a click, caller", "call_"))
        ),
    ]
    show_table((f"{found['n']} nuclei", "", "95 %", ""), rows)
    if found["left_out"]:
        print(f"left out as smaller than 16 px: {found['left_out']}")
    if "patches" in found:
        _show_patches(found["patches"])


def _show_patches(patches: dict[str, Any]) -> None:
    rows = [
        (
            f"{each['image']}@{each['window'][0]},{each['window'][1]}",
            str(each["nuclei"]),
            str(each["clicks"]),
            *(f"{each[key]:.3f}" for key in ("pq_before", "pq_after")),
            duration(each["seconds"]),
        )
        for each in patches["rows"]
    ]
    total = (
        f"all, {patches['reached']} of {patches['n']} at PQ {patches['target_pq']:g}",
        str(patches["nuclei"]),
        str(patches["clicks"]),
        *(f"{patches[key]:.3f}" for key in ("pq_before", "pq_after")),
        duration(patches["seconds"]),
    )
    show_table(("window", "nuclei", "clicks", "PQ before", "PQ after", "time"), [*rows, total])
    print(f"{patches['clicks_per_nucleus']:.2f} clicks a nucleus")


def _interval_text(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
