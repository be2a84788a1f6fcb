"""MINDIR files, loaded again, beside the network that they hold."""

from __future__ import annotations

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from support.drawn_norms import draw_norms
from support.small_networks import SMALL

from mindcv_halo import FeatureExtractor, HaloNet, fuse_batchnorm
from mindcv_halo.deploy import read_metadata, run_mindir, write_mindir
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.specs import DIALECTS, ChannelAttention, Halo, Stage
from mindcv_halo.runtime import pynative_mode

SIZE = (40, 52)
MIXED = replace(
    HALONET_TEST,
    stem=replace(HALONET_TEST.stem, pool=True),
    stages=(Stage("CL", 32, 16, stride=1, num_heads=2), Stage("AT", 48, 24, num_heads=2)),
    halo=Halo(3, 1),
    gate=ChannelAttention("se"),
)
# Of the largest logit: the same kernels, but batches of other sizes may sum in another order.
TOLERANCE = 1e-6


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, *SIZE)).astype(np.float32)[:batch]


@pytest.mark.parametrize(
    "spec, dialect, batch",
    [(SMALL, "timm", None), (SMALL, "timm", 2), (SMALL, "mindcv", None), (MIXED, "timm", None)]
    + [pytest.param(*case, 2, marks=pytest.mark.thorough) for case in ((SMALL, "mindcv"), (MIXED, "timm"))],
    ids=["halo", "halo, 2", "scrambled", "mixed", "scrambled, 2", "mixed, 2"],
)
def test_outputs(tmp_path, spec, dialect, batch):
    network = draw_norms(HaloNet(spec, 5, dialect=DIALECTS[dialect], image_size=SIZE))
    expected = network(Tensor(images(3))).asnumpy()
    file = tmp_path / "network.mindir"
    write_mindir(file, fuse_batchnorm(network), (batch, 3, *SIZE), {})
    for size in (1, 3) if batch is None else (batch,):
        (logits,) = run_mindir(file, images(size))
        np.testing.assert_allclose(logits, expected[:size], rtol=0, atol=TOLERANCE * np.abs(expected).max())
    if batch is not None:  # it is fixed
        with pytest.raises(RuntimeError):
            run_mindir(file, images(3))


def test_maps(mode, tmp_path):
    """In PyNative mode too, which stays."""
    network = FeatureExtractor(HaloNet(SMALL), (0, 2)).set_train(False)
    with pynative_mode():
        expected = network(Tensor(images(2)))
    write_mindir(
        tmp_path / "network.mindir", network, (2, 3, *SIZE), {"model": "halonet_test", "names": '["Grünfink"]'}
    )
    assert ms.get_context("mode") == {"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}[mode]
    for ours, theirs in zip(run_mindir(tmp_path / "network.mindir", images(2)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.asnumpy(), rtol=0, atol=1e-6)
    assert read_metadata(tmp_path / "network.mindir") == {"model": "halonet_test", "names": '["Grünfink"]'}
