"""The benchmarks' verdicts: intervals, losses, bounds, and what is written to a page."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.arrivals import Outcome
from bench.endurance import COLUMNS, Sample, violations
from bench.endurance import panels as soak_panels
from bench.growth import Grown
from bench.guard import BASE, NOW, Comparison
from bench.intervals import interval, rise
from bench.pages import table, write
from bench.plot import Line, Panel, svg

ROOT = Path(__file__).parents[2]
MARKS = "<!-- soak: written by make bench-soak WRITE=1 -->\n{}<!-- end soak -->"


def test_the_interval_holds_the_median_and_is_the_same_each_time() -> None:
    chance = random.Random(7)
    values = [chance.gauss(1, 0.05) for _ in range(15)]
    found = interval(values)
    assert found == interval(values)
    assert min(values) <= found.low < found.median < found.high <= max(values)
    assert found.high - found.low < 0.1


def test_an_outlier_moves_the_interval_little() -> None:
    assert interval([1.0] * 14 + [40.0]).high == 1.0


def test_the_interval_misses_the_true_median_rarely() -> None:
    chance = random.Random(3)
    found = [interval([chance.gauss(1, 0.1) for _ in range(15)]) for _ in range(60)]
    assert sum(each.low <= 1 <= each.high for each in found) >= 52


def test_a_line_rises_by_its_slope_and_an_outlier_adds_nothing() -> None:
    assert rise([float(n) for n in range(11)]) == pytest.approx(10)
    assert rise([5.0] * 10 + [500.0]) == 0
    assert rise([5.0]) == 0


def compared(*ratios: float, disturbed: int = 0) -> Comparison:
    rounds = [
        {BASE: {"rate": 1000.0, "p99": 10.0}, NOW: {"rate": 1000 * ratio, "p99": 10 / ratio}}
        for ratio in ratios
    ]
    return Comparison("get", 16, again=True, rounds=rounds, disturbed=disturbed)


@pytest.mark.parametrize(
    "ratios",
    # The first case certainly loses 1.5 %, which is allowed; the second may lose more by chance.
    [[0.985] * 9, [0.8, 1.1, 0.7, 1.2, 0.9], [1.0, 1.01, 0.99, 1.0, 1.02], [1.3] * 9],
)
def test_noise_and_small_losses_do_not_fail(ratios: list[float]) -> None:
    assert not compared(*ratios).lost


def test_a_loss_is_told_in_one_line() -> None:
    slower = compared(0.9, 0.91, 0.89, 0.9, 0.92, disturbed=2)
    assert slower.lost
    assert slower.loss() == (
        "loss: get at 16 connections is 0.90 (0.89-0.92) of BASE's rate, below 0.97 twice, "
        "2 rounds under foreign load"
    )
    assert compared(*[0.5] * 5).row() == (
        "| get, again | 16 | 1000 | 500 | 0.50 (0.50-0.50) | 2.00 (2.00-2.00) | 0 | 0 |"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--", "nothing-of-that-name"], "names no commit"),
        (["--", ""], "make bench-guard BASE=main"),
    ],
)
def test_the_name_of_no_commit_is_refused_in_one_line(given: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.guard", *given],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'services/api'}:{ROOT}:{ROOT / 'tests'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_growth_above_the_goal_is_marked_as_over() -> None:
    grown = Grown("records", [10, 1000])
    for small, large in ((2.0, 2.2), (2.0, 2.4), (4.0, 4.4)):
        grown.add("get", "p50 in ms", 0, small)
        grown.add("get", "p50 in ms", 1, large)
        grown.add("get", "p99 in ms", 0, small)
        grown.add("get", "p99 in ms", 1, 2 * large)
    grown.add("memory of a worker", "MB", 0, 50.0)
    grown.add("memory of a worker", "MB", 1, 60.0)
    assert grown.over() == ["records: get, p99 in ms"]
    assert grown.text().splitlines() == [
        "| records | 10 | 1,000 | ratio |",
        "| --- | --- | --- | --- |",
        "| get, p50 in ms | 2.00 | 2.40 | 1.10 (1.10-1.20) |",
        "| get, p99 in ms | 2.00 | 4.80 | 2.20 (2.20-2.40) over |",
        "| memory of a worker, MB | 50.00 | 60.00 | 1.20 |",
    ]
    assert grown.panel().lines[1].points == [(10, 1.0), (1000, 2.4)]


def taken(minute: int, **changed: float) -> Sample:
    figures = {"rate": 900.0, "p99": 20.0 + minute % 3, "rss": 100.0, "uss": 70.0, "dead": 0.2,
               "row": 1300.0, "database": 200.0, "redis": 1.3, "foreign": 0.0}  # fmt: skip
    refused, failed = (int(changed.pop(name, 0)) for name in ("refused", "failed"))
    return Sample(minute=minute, refused=refused, failed=failed, **(figures | changed))


def test_a_run_without_growth_has_no_violation() -> None:
    # Caches that fill at the beginning are no slope, and an outlier is none.
    samples = [taken(n, uss=70 if n > 6 else 40 + 5 * n) for n in range(1, 61)]
    samples[30] = taken(31, p99=400.0)
    assert violations(samples) == []


def test_each_bound_that_was_not_kept_is_a_line() -> None:
    samples = [taken(n, uss=70 + n / 4, p99=20 + n / 3) for n in range(1, 61)]
    samples[9] = taken(10, refused=3, dead=0.5)
    samples[19] = taken(20, row=2600.0, failed=1)
    lines = violations(samples)
    assert [line.partition(":")[0] for line in lines] == [
        "errors", "memory of the largest worker", "p99", "dead rows", "bloat",
    ]  # fmt: skip
    assert lines[0] == "errors: 3 requests refused and 1 failed, the first by minute 10"
    assert lines[4].endswith("2.00 times those of the first sample, above 1.5")


def test_too_few_samples_are_no_verdict() -> None:
    assert violations([taken(1), taken(2)]) == ["slopes: 2 samples are too few, 4 are needed"]


def test_an_outcome_is_settled_when_each_request_has_ended() -> None:
    outcome = Outcome()
    outcome.sent["get"] += 3
    outcome.succeeded["get"] += 1
    outcome.refused["get"] += 1
    assert not outcome.settled
    outcome.failed["get"] += 1
    assert outcome.settled


def test_a_plot_is_well_formed_and_has_every_point() -> None:
    panels = [
        Panel("a < b", "x", [Line("one & all", [(10, 1), (1000, 2)])], goal=1.5, log=True),
        Panel("one point", "x", [Line("a", [(1, 0)])]),
        *soak_panels([taken(1), taken(2)]),
    ]
    picture = ET.fromstring(svg(panels))  # noqa: S314 - our own text
    names = {"": "http://www.w3.org/2000/svg"}
    assert picture.get("viewBox") == "0 0 800 900"
    lines = picture.findall(".//polyline", names)
    # The points are at both ends of the axis, and a value of 0 is at its bottom.
    assert [lines[n].get("points") for n in (0, 1)] == ["52.0,168.0 384.0,76.0", "218.0,260.0"]
    assert "one & all" in {text.text for text in picture.findall(".//text", names)}


def test_results_replace_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n" + MARKS.format("old\n") + "\nafter\n")
    for number in (1, 2):
        rows = table(COLUMNS, [taken(number).cells()])
        write("soak", rows, soak_panels([taken(1), taken(2)]), page)
        inside = f"\n{rows}\n\n![the same as a plot](soak.svg)\n\n"
        assert page.read_text() == f"before\n{MARKS.format(inside)}\nafter\n"
    assert ET.fromstring((tmp_path / "soak.svg").read_text()).tag.endswith("svg")  # noqa: S314


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="has not one place"):
        write("soak", "text", [], page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


@pytest.mark.parametrize("name", ["growth", "soak"])
def test_the_page_has_a_place_for_the_results(name: str) -> None:
    text = (ROOT / "docs/performance.md").read_text()
    assert text.count(f"<!-- {name}: written by make bench-{name} WRITE=1 -->") == 1
    assert text.count(f"<!-- end {name} -->") == 1
