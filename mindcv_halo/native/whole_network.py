"""The models on native kernels: in and out go the usual (B, C, H, W), and in between are those of layers.py."""

from __future__ import annotations

from functools import cache

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, nn
from mindspore.ops import constexpr

from ..models.features import FeatureExtractor
from ..models.layers.bottleneck import AttentionMix, ConvMix
from ..models.layers.random_drop import Dropout
from ..models.network import HaloNet, check_images
from .as_built import check_feature_extractor, check_network, is_plain_dense
from .direct_call import DirectCall, is_recorded
from .guarded import FROZEN, guard, has_hooks
from .layers import check_type
from .operators import Convolution, Fork, MeanPixels, MoveChannels, make_plan_runner, nothing
from .plan import Map, Plan, View
from .registry import native


@native(HaloNet, check_network, alone=True)
class NativeHaloNet(HaloNet):
    """The network, which runs as one operator when it is frozen and all its layers have kernels."""

    precision = "float32"
    has_plan = False
    plans_head = False  # whether the plan ends with the logits, and not with what enters the head

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.mean = MeanPixels()
        self.mean_for_head = MeanPixels(dtype)
        self.fork = Fork()
        self.to_first = MoveChannels("first", dtype)
        self.nothing = nothing()

    def freeze(self) -> None:
        """Plan the whole network, if all of it can be planned. Its layers must be prepared."""
        mixes = [cell for _, cell in self.cells_and_names() if isinstance(cell, AttentionMix | ConvMix)]
        self.has_plan = all(mix.has_plan for mix in mixes)
        self.plan_head()

    def plan_head(self) -> None:
        """Plan with the head that there is now: one that kernels know ends the plan, another is called after it."""
        if not self.has_plan:
            return
        is_known = isinstance(self.classifier, nn.Identity) or is_plain_dense(self.classifier)
        self.plans_head = is_known and isinstance(self.dropout, Dropout | nn.Dropout | nn.Identity)
        if self.plans_head and not isinstance(self.classifier, nn.Identity):
            # A new one packs a new classifier's weights.
            object.__setattr__(self, "dense_kernel", Convolution(has_bias=True, frozen=True, to_float=True))
        if self.plans_head:
            guard(self.dropout, "dropout", self, frozen=True)
            guard(self.classifier, "classifier", self, frozen=True)
        # Hidden from MindSpore, which would name and check the parameters once more.
        object.__setattr__(self, "planned", PlannedNetwork(self))

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in ("classifier", "dropout"):
            self.plan_head()

    def __call__(self, *args, **kwargs):
        # In graph mode MindSpore walks through all cells at each call, which takes 1.5 ms; this one has none inside.
        if self.plans_head and not self.training and not has_hooks(self):
            return self.planned(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def plan(self, shape: tuple[int, ...]) -> tuple[Plan, Map]:
        plan = Plan(shape)
        x = plan.images
        for layer in (*self.stem, *(block for stage in self.stages for block in stage), self.final_conv):
            if not isinstance(layer, nn.Identity):
                x = layer.plan(plan, x)
        if not self.plans_head or isinstance(self.classifier, nn.Identity):
            return plan, plan.add(self.mean, x)
        x = plan.add(self.mean_for_head, x)
        batch, channels = x.shape
        num_classes = self.classifier.out_channels
        weight = View(self.classifier.weight, (num_classes, channels, 1, 1))
        logits = plan.add(
            self.dense_kernel, x.reshape(1, 1, batch, channels), weight, self.classifier.bias, self.nothing
        )
        return plan, logits.reshape(batch, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        if self.has_plan:
            if self.training:
                raise RuntimeError(FROZEN)
            x = self.planned(x)
            return x if self.plans_head else self.classifier(self.dropout(x))
        check_images(x, self.spec, self.in_channels, self.built_size)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.dropout(self.mean(self.final_conv(x))))

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, kept = self.fork(x)
        return x, self.to_first(kept)

    def channels_first(self, x: Tensor) -> Tensor:
        return self.to_first(x)


class PlannedNetwork(nn.Cell):
    """All of a frozen network in one operator."""

    def __init__(self, network: NativeHaloNet):
        super().__init__(auto_prefix=False)
        self.spec = network.spec
        self.in_channels = network.in_channels
        self.built_size = network.built_size
        plan, logits = network.plan((1, self.in_channels, *self.built_size))
        object.__setattr__(self, "weights", ParameterTuple(plan.parameters))
        self.channels = logits.shape[1]
        self.run_plan = make_plan_runner(self.channels)
        self.run_directly = DirectCall("run_plan", plan.parameters)

        @cache
        def write_plan(shape: tuple[int, ...]) -> np.ndarray:
            plan, logits = network.plan(shape)
            return plan.write(logits)

        self.write_plan = write_plan
        self.write_plan_tensor = constexpr(lambda shape: Tensor(write_plan(shape)))

    def __call__(self, *args, **kwargs):
        if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and not is_recorded():
            x = args[0].init_data() if args[0].has_init else args[0]
            check_images(x, self.spec, self.in_channels, self.built_size)
            check_type(x)
            logits = self.run_directly(x, self.write_plan(x.shape), (x.shape[0], self.channels))
            if logits is not None:
                return logits
        return super().__call__(*args, **kwargs)

    def construct(self, x: Tensor) -> Tensor:
        check_images(x, self.spec, self.in_channels, self.built_size)
        check_type(x)
        return self.run_plan(x, *self.weights, self.write_plan_tensor(x.shape))


@native(FeatureExtractor, check_feature_extractor, alone=True)
class NativeFeatureExtractor(FeatureExtractor):
    precision = "float32"

    def prepare(self, frozen: bool, dtype: mindspore.Type) -> None:
        self.fork = Fork()
        self.to_first = MoveChannels("first", dtype)

    def keep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, kept = self.fork(x)
        return x, self.to_first(kept)

    def channels_first(self, x: Tensor) -> Tensor:
        return self.to_first(x)
