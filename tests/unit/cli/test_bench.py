"""What `nucleate bench` makes of a result: keys, the picture, paired differences."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nucleate.errors import InvalidInput
from nucleate.orchestrator.cli.commands.bench import METHODS
from nucleate.orchestrator.cli.work.click_bench import _METHODS
from nucleate.orchestrator.cli.work.click_bench_results import as_figures, show_figures
from nucleate.orchestrator.cli.work.paired_comparison import differences, read_rows
from nucleate.orchestrator.cli.work.table61 import split_by_patient
from nucleate.orchestrator.report.clicks_chart import clicks_chart
from nucleate.v1 import annotator_pb2 as pb
from nucleate.v1 import common_pb2


def a_result(clicks: int = 5) -> pb.BenchClicksResult:
    iou = [0.6 + 0.05 * k for k in range(clicks)]
    return pb.BenchClicksResult(
        n=12,
        iou=iou,
        iou_intervals=[pb.Interval(low=value - 0.05, high=value + 0.05) for value in iou],
        noc=[
            pb.NumberOfClicks(target_iou=target, mean=mean, low=mean - 1, high=mean + 1, failures=failures)
            for target, mean, failures in ((0.8, 3.0, 1), (0.85, 3.5, 2), (0.9, min(4.5, clicks), 4))
        ],
        honoured=1.0,
        honoured_by_network=0.9,
        milliseconds=pb.Percentiles(p50=40, p90=60, p99=90),
        call_milliseconds=pb.Percentiles(p50=42, p90=63, p99=99),
        left_out=2,
        patches=[
            pb.PatchResult(
                id="a", window=common_pb2.Window(width=9, height=9), nuclei=10, clicks=4, pq_before=0.4, pq_after=0.6
            ),
            pb.PatchResult(
                id="b", window=common_pb2.Window(width=9, height=9), nuclei=30, clicks=20, pq_before=0.3, pq_after=0.5
            ),
        ],
    )


def test_the_keys_that_scripts_know():
    found = as_figures(a_result(), 0.6)
    assert {"n", "iou1", "noc80", "noc85", "noc90", "honoured", "p50_ms", "p99_ms"} <= found.keys()
    assert (found["n"], found["iou1"], found["noc80"], found["p99_ms"]) == (12, 0.6, 3.0, 90)
    assert found["failures"] == {"noc80": 1, "noc85": 2, "noc90": 4}
    assert found["intervals"]["noc90"] == [3.5, 5.5]
    patches = found["patches"]
    assert (patches["clicks_per_nucleus"], patches["reached"], patches["n"]) == (0.6, 1, 2)
    assert (patches["pq_before"], patches["pq_after"]) == pytest.approx((0.35, 0.55))
    assert "patches" not in as_figures(pb.BenchClicksResult(iou=[0.5], iou_intervals=[pb.Interval()]), 0.6)


def test_people_read_tables(capsys):
    show_figures(as_figures(a_result(), 0.6))
    shown = capsys.readouterr().out
    for text in ("12 nuclei", "clicks to IoU .80", "1 never", "left out", "all, 1 of 2 at PQ 0.6", "0.60 clicks a nucleus"):
        assert text in shown


@pytest.mark.parametrize("clicks", [4, 5, 20, 64])
def test_the_picture_is_svg_with_everything_inside(clicks):
    root = ET.fromstring(clicks_chart(as_figures(a_result(clicks), 0.6)))
    assert root.tag.endswith("svg")
    texts = [each for each in root.iter() if each.tag.endswith("text")]
    assert any("3.00 clicks, 1 never" in (each.text or "") for each in texts)
    assert all(0 <= float(each.get("x")) <= 640 for each in texts)


def test_every_method_has_its_number():
    assert tuple(_METHODS) == METHODS


def rows(path: Path, *curves: list[float]) -> Path:
    lines = [json.dumps({"image": f"i{n % 3}", "nucleus": n, "iou": iou}) for n, iou in enumerate(curves, 1)]
    path.write_text("\n".join(lines))
    return path


def test_paired_differences(tmp_path):
    before = read_rows(rows(tmp_path / "a", [0.5, 0.8, 0.9], [0.6] * 20, [0.7, 0.81, 0.9]))
    after = read_rows(rows(tmp_path / "b", [0.6, 0.9], [0.6, 0.8] + [0.8] * 18, [0.8, 0.9]))
    found = differences(before, after)
    assert found["n"] == 3
    noc80 = found["figures"]["noc80"]
    assert (noc80["before"], noc80["after"], noc80["difference"]) == pytest.approx((8, 5 / 3, -19 / 3))
    assert noc80["interval"][0] <= -19 / 3 <= noc80["interval"][1] <= 0
    assert found == differences(before, after)


def test_measurements_that_cannot_be_compared_are_refused(tmp_path):
    ten, twenty = (read_rows(rows(tmp_path / str(most), [0.5] * most)) for most in (10, 20))
    with pytest.raises(InvalidInput, match="10 and 20 clicks"):
        differences(ten, twenty)
    with pytest.raises(InvalidInput, match="no nucleus in common"):
        differences(ten, {("other", 1): {"iou": [0.5]}})
    for text in ("", "no json", '{"image": "a"}'):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(InvalidInput, match="`bench clicks --out`"):
            read_rows(tmp_path / "bad")
    with pytest.raises(InvalidInput, match="`bench clicks --out`"):
        read_rows(tmp_path / "none")


def test_sources_of_synthetic_images_come_from_their_record(tmp_path: Path) -> None:
    from nucleate.orchestrator.cli.work.realism_bench import sources_of

    folder = tmp_path / "images"
    folder.mkdir()
    assert sources_of(folder) == {}
    record = {"images": [{"id": "synthetic-00000", "reference": {"name": "image 'slide-2'"}}]}
    (tmp_path / "statistics.json").write_text(json.dumps(record))
    assert sources_of(folder) == {"synthetic-00000": "slide-2"}
    (tmp_path / "statistics.json").write_text("[]")
    with pytest.raises(InvalidInput, match=r"statistics.json is not what `nucleate synthesize` wrote"):
        sources_of(folder)


def test_no_patient_is_in_two_parts_and_shares_hold():
    ids = [f"TCGA-{i // 2:02d}-{i // 2:04d}-x{i % 2}" for i in range(30)]
    split = split_by_patient(ids, 3)
    parts = [split.train, split.val, split.test]
    assert sorted(name for part in parts for name in part) == ids
    assert [len(part) for part in parts] == [18, 6, 6]
    assert not {name[:12] for name in split.train} & {name[:12] for name in (*split.val, *split.test)}
    assert split == split_by_patient(list(reversed(ids)), 3)
    with pytest.raises(InvalidInput, match="5 patients"):
        split_by_patient([str(i) for i in range(5)], 0)
