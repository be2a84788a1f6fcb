"""The mean over ranks, whose tensors two kernels join and part."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor

from ..distributed.all_reduce import AllReduceMean
from .operators import make_join, make_share
from .registry import native


@native(AllReduceMean, alone=True)
class NativeAllReduceMean(AllReduceMean):
    """The mean as a few operators, in place of several for each tensor, which take a third of a step's compilation."""

    def prepare(self) -> None:
        num_buckets, num_statistics = len(self.buckets), len(self.shapes) - self.num_gradients - 1
        gradients = self.shapes[: self.num_gradients]
        bucket_sizes = tuple(sum(self.sizes[bucket.first : bucket.end]) for bucket in self.buckets)
        self.join = make_join(self.shapes, bucket_sizes)
        self.share = make_share(gradients, num_buckets, num_statistics)
        self.num_tensors = Tensor(np.array([len(self.shapes)], np.int64))
        self.layout = Tensor(np.array([num_buckets, num_statistics, self.num_gradients, self.size], np.int64))

    def construct(self, gradients, statistics, loss):
        buckets = self.join(self.num_tensors, *gradients, *statistics, loss)
        means = self.share(self.layout, *self.hyper_map(self.add_up, buckets), *statistics)
        return means[:-1], means[-1].reshape(())
