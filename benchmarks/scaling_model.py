"""How long a data parallel step takes, on paper: computation plus what of the all-reduce nothing hides.

An all-reduce is a ring, the bound that every algorithm has for large messages; over several machines each card first
adds up within its machine, then with its like in the other machines, on the share of the numbers that it holds.
Nothing here is fitted, and waiting for the slowest card, the input pipeline and the optimizer's state are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = 4  # bytes of a float32
BACKWARD = 2 / 3  # of a step's computation: a layer's two gradients cost about as much as twice its output


@dataclass(frozen=True)
class Link:
    """What a process sends to the next: bytes/s one way, and the seconds that a message needs on top."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Level:
    """A ring of `size` processes."""

    size: int
    link: Link


@dataclass(frozen=True)
class System:
    """Levels from the inside of a machine outwards."""

    name: str
    levels: tuple[Level, ...]

    @property
    def size(self) -> int:
        product = 1
        for level in self.levels:
            product *= level.size
        return product


def ring_seconds(num_bytes: float, level: Level) -> float:
    """size - 1 messages of num_bytes / size to add up, and as many to spread the sums."""
    return 2 * (level.size - 1) * (num_bytes / level.size / level.link.bandwidth + level.link.latency)


def all_reduce_seconds(num_bytes: float, levels: Sequence[Level]) -> float:
    """Each level works on the share of the bytes that the one inside it left to each process."""
    seconds = 0.0
    for level in levels:
        seconds += ring_seconds(num_bytes, level)
        num_bytes /= level.size
    return seconds


def exposed_seconds(compute: float, buckets: Sequence[float], levels: Sequence[Level], overlaps: bool) -> float:
    """What the all-reduce of buckets of so many bytes adds to `compute` seconds.

    If it overlaps, all buckets but the last travel during the backward pass, which ends before the last is ready.
    """
    *early, last = (all_reduce_seconds(num_bytes, levels) for num_bytes in buckets)
    return last + max(0.0, sum(early) - (BACKWARD * compute if overlaps else 0.0))


def solve_link(size: int, small: tuple[float, float], large: tuple[float, float]) -> Link:
    """The link on which rings of `size` processes take what was measured: (bytes, seconds) of two all-reduces.

    Raises ValueError if the larger did not take longer. Latency is at least 0.
    """
    (few, short), (many, long) = small, large
    if not (few < many and short < long):
        raise ValueError(f"{many} bytes in {long} s must be more and slower than {few} bytes in {short} s")
    bandwidth = 2 * (size - 1) / size * (many - few) / (long - short)
    latency = short / (2 * (size - 1)) - few / size / bandwidth
    return Link(bandwidth, max(0.0, latency))


# Ascend 910, first generation. Bandwidths are nominal: Huawei at Hot Chips 31 (2019), 3 HCCS ports of 240 Gb/s and RoCE
# ports of 100 Gb/s; the same in the appendix of Zhou et al., "Accelerating Model Training on Ascend Chips", USENIX ATC
# 2025, as a review quotes it. The two meshes: Huawei Cloud's manual of its container engine, on scheduling by HCCS. A
# port of 100 Gb/s for each card: the manual of Atlas 300T, model 9000. Latencies are guesses.
HCCS = Link(30e9, 10e-6)
ROCE = Link(12.5e9, 20e-6)
ONE_MACHINE = System("8 x Ascend 910", (Level(8, HCCS),))
EIGHT_MACHINES = System("8 x 8 Ascend 910", (Level(8, HCCS), Level(8, ROCE)))
BATCH_SIZE = 64  # of each card, as in MindCV's recipe for halonet_50t
RATES = (100, 250, 500, 1000, 2000)  # images/s of one card

ASSUMPTIONS = (
    "No images/s of a HaloNet on an Ascend are known to us: MindCV's table says 'coming soon'. They are a parameter.",
    f"Each card has {BATCH_SIZE} images a step; gradients travel as float32, in the step's buckets.",
    "In a machine: one ring over links of 30 GB/s one way. Cards 0-3 and 4-7 are two meshes of HCCS, joined by PCIe "
    "(32 GB/s nominal), so that HCCS is the ring's slower link; rings over the meshes' other links are not counted.",
    "Between machines: each card has a port of 100 Gb/s of its own, and the network no bottleneck of its own.",
    f"A message needs {HCCS.latency * 1e6:.0f} us on top in a machine, {ROCE.latency * 1e6:.0f} us between machines: "
    "guesses.",
    "Full overlap: all buckets but the last travel during the backward pass, two thirds of the computation, and slow "
    "nothing down. No overlap: all of them after it.",
    "Left out: waiting for the slowest card, reading images, joining gradients into buckets.",
)


@dataclass(frozen=True)
class Prediction:
    """Of a system whose cards compute `rate` images/s alone; without overlap (first) and with full overlap."""

    system: str
    rate: float
    all_reduce_ms: float
    images_per_second: tuple[float, float]
    efficiency: tuple[float, float]  # of perfect scaling


def predict(system: System, rate: float, batch_size: int, buckets: Sequence[float]) -> Prediction:
    """For `batch_size` images on each card, and gradients in buckets of so many bytes."""
    compute = batch_size / rate
    efficiency = tuple(
        compute / (compute + exposed_seconds(compute, buckets, system.levels, overlaps)) for overlaps in (False, True)
    )
    return Prediction(
        system.name,
        rate,
        1e3 * sum(all_reduce_seconds(num_bytes, system.levels) for num_bytes in buckets),
        tuple(system.size * rate * share for share in efficiency),
        efficiency,
    )


# The only measured figures of Ascend 910 that check the assumptions: MindSpore's page "Benchmarks" of releases 0.2 and
# 0.5, ResNet-50 v1.5, mixed precision, images/s of 1 card and of more. Its script makes two buckets, of weights 0 to 85
# and of all others. (Its tutorial on profiling has 6.15 ms from the end of the backward pass to the end of the step on
# 8 cards with one bucket; the model's all-reduce takes 6.1.)
RESNET50_BUCKETS = (22_337_256 * NUMBER, 3_219_776 * NUMBER)
TWO_MACHINES = System("2 x 8 Ascend 910", (Level(8, HCCS), Level(2, ROCE)))


@dataclass(frozen=True)
class Published:
    """A speed-up that was measured by MindSpore's makers."""

    system: System
    batch_size: int
    rate: float  # images/s of one card
    images_per_second: float

    @property
    def efficiency(self) -> float:
        return self.images_per_second / self.rate / self.system.size


PUBLISHED = (
    Published(ONE_MACHINE, 32, 1787, 13689),
    Published(TWO_MACHINES, 32, 1787, 27090),
    Published(ONE_MACHINE, 256, 2115, 16600),
    Published(TWO_MACHINES, 256, 2115, 32768),
)
