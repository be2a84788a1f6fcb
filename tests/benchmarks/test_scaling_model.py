from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scaling_model import (  # noqa: E402
    PUBLISHED,
    RESNET50_BUCKETS,
    Level,
    Link,
    System,
    all_reduce_seconds,
    exposed_seconds,
    predict,
    ring_seconds,
    solve_link,
)

FAST = Link(bandwidth=100.0, latency=0.5)
SLOW = Link(bandwidth=10.0, latency=1.0)


def walk_ring(num_bytes: float, level: Level) -> float:
    """One process's messages, one by one: it sends a share on until all have every sum."""
    seconds = 0.0
    for _ in ("add up", "spread"):
        for _ in range(level.size - 1):
            seconds += level.link.latency + num_bytes / level.size / level.link.bandwidth
    return seconds


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_ring_sends_a_share_to_every_other_process_twice(size):
    assert ring_seconds(1200.0, Level(size, FAST)) == pytest.approx(walk_ring(1200.0, Level(size, FAST)))


def test_between_machines_a_card_carries_its_share_only():
    inside, between = Level(4, FAST), Level(2, SLOW)
    seconds = all_reduce_seconds(1200.0, [inside, between])
    assert seconds == pytest.approx(walk_ring(1200.0, inside) + walk_ring(300.0, between))


def test_one_process_waits_for_nobody():
    assert all_reduce_seconds(1200.0, []) == 0.0
    assert predict(System("alone", ()), 10.0, 5, [1200.0]).efficiency == (1.0, 1.0)


@pytest.mark.parametrize(
    "compute, overlaps, exposed",
    [
        (30.0, False, 21.0),  # nothing is hidden: 10 + 10 + 1
        (30.0, True, 1.0),  # 20 s of backward pass hide all but the last bucket
        (15.0, True, 11.0),  # 10 s of it hide the first
    ],
)
def test_all_but_the_last_bucket_hide_behind_the_backward_pass(compute, overlaps, exposed):
    buckets = [950.0, 950.0, 50.0]  # 10 s, 10 s and 1 s, on a ring of 2
    link = Link(bandwidth=100.0, latency=0.25)
    assert exposed_seconds(compute, buckets, [Level(2, link)], overlaps) == pytest.approx(exposed)


@pytest.mark.parametrize("size", [2, 8])
def test_link_comes_out_of_two_measurements(size):
    small, large = ((num_bytes, ring_seconds(num_bytes, Level(size, SLOW))) for num_bytes in (40.0, 5000.0))
    link = solve_link(size, small, large)
    assert (link.bandwidth, link.latency) == (pytest.approx(SLOW.bandwidth), pytest.approx(SLOW.latency))


def test_noise_makes_no_negative_latency():
    assert solve_link(2, (1000.0, 1.0), (2000.0, 3.0)).latency == 0.0


def test_link_needs_a_larger_that_takes_longer():
    with pytest.raises(ValueError, match="5000.0 bytes in 0.1 s must be more and slower than 40.0 bytes in 0.2 s"):
        solve_link(2, (40.0, 0.2), (5000.0, 0.1))


def test_prediction_counts_all_cards():
    system = System("6", (Level(3, FAST), Level(2, FAST)))
    paper = predict(system, rate=10.0, batch_size=50, buckets=[600.0, 600.0])
    assert paper.all_reduce_ms == pytest.approx(2e3 * all_reduce_seconds(600.0, system.levels))
    assert paper.efficiency[0] == pytest.approx(5.0 / (5.0 + paper.all_reduce_ms / 1e3))
    assert paper.images_per_second == tuple(pytest.approx(60.0 * share) for share in paper.efficiency)


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: f"{known.system.name}, batch {known.batch_size}")
def test_published_speedups_lie_between_no_and_full_overlap(known):
    """To within 0.01: the model counts one ring in a machine, and the machine has links for more."""
    none, full = predict(known.system, known.rate, known.batch_size, RESNET50_BUCKETS).efficiency
    assert none < known.efficiency < full + 0.01
