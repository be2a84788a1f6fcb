"""Every field of every specification and every argument of every layer, with values that mean nothing."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from mindspore import nn
from support.table import check_all

from mindcv_halo.errors import UserError
from mindcv_halo.models import HaloNet, layers, specs
from mindcv_halo.models.halonet import HALONET_TEST
from mindcv_halo.models.layers import squeeze_excite
from mindcv_halo.models.layers.activation import make_activation
from mindcv_halo.models.macs import count_macs
from mindcv_halo.models.specs import DIALECTS, ChannelAttention, Dialect, Halo, Spec, Stage, Stem

NAN, INFINITE = float("nan"), float("inf")

# By type, as it is written; what follows "| None" is like it, with None allowed.
WRONG = {
    "int": [0, -1, 1.5, 2.0, "8", None, True, NAN, (1,), np.float64(2), np.array(2)],
    "float": [0, -1.0, NAN, INFINITE, "0.5", None, True, 1j],
    "rate": [-0.1, 1, 1.0, NAN, "0.5", None, True],
    "bool": [1, 0, "False", "", None, np.int64(1)],
    "str": ["", " ", None, 5, b"relu", True],
    "act": ["gelu", "GELU", "Relu", " silu", "swish", "", None, 5, nn.ReLU],
    "tuple[int, ...]": [(), 3, "12", (0,), (1.5,), ("2",), (True,), None, ((1,),)],
    "tuple[int, int]": [(), 3, "12", (0, 1), (1, 1.5), (1,), (1, 1, 1), (1, True), None],
    "size": [(), 0, 1.5, "12", (0, 1), (1, 1.5), (1,), (1, 1, 1), (1, True), None, True],
    "object": [None, "timm", 5, nn.Cell],
    "type[nn.Cell]": ["relu", 5, None, "nn.ReLU"],
}
# What a type alone does not tell.
KINDS = {
    **dict.fromkeys(("act", "se_act"), "act"),
    **dict.fromkeys(("drop_prob", "rate", "drop_rate", "drop_path_rate"), "rate"),
    "image_size": "size",
}
MORE = {
    "kind": ["SE", "ECA", "cbam"],
    "pattern": ["X", "CX", "ca", "C A", "CC\n", "C3"],
    "strides": [(2, 1), (2, 2, 2)],  # of one width
    "kernel_size": [2, 4],
    "reach": [2, 4],
    "dialect": ["torch", "Timm", Dialect("mine"), Dialect("timm", scrambled_windows=True)],
}
ZEROS = {"inner", "halo_size", "num_classes"}  # which may be 0
UNCHECKED = {
    "Conv2dNormActivation": {"pad_mode", "padding", "kwargs"},
    "SqueezeExcite": {"norm"},
}  # as nn.Conv2d has them

SPECS = {
    Stem: Stem((16,), (2,)),
    Stage: Stage("CA", 32, 16),
    Halo: Halo(2, 1),
    ChannelAttention: ChannelAttention("se"),
    Spec: HALONET_TEST,
    Dialect: DIALECTS["timm"],
}
CELL = nn.Identity()
LAYERS = {
    layers.AttentionMix: {"attention": CELL, "channels": 8, "act": "relu"},
    layers.Bottleneck: {
        **{"mix": CELL, "in_channels": 8, "inner": 4, "mixed": 4, "out_channels": 8, "stride": 1, "act": "relu"}
    },
    layers.BottleneckAttention: {"dim": 8, "map_size": (4, 4)},
    layers.Conv2dNormActivation: {"in_channels": 8, "out_channels": 8},
    layers.ConvMix: {"conv": CELL, "gate": CELL},
    layers.ConvNormAct: {"in_channels": 8, "out_channels": 8},
    layers.DropPath: {},
    layers.Dropout: {"rate": 0.1},
    layers.EfficientChannelAttention: {"channels": 8},
    layers.GlobalAvgPooling: {},
    layers.HaloAttention: {"dim": 16},
    layers.Identity: {},
    layers.LambdaLayer: {"dim": 8},
    layers.RelativePosition: {"queries": (4, 4), "keys": (6, 6), "dim_head": 4},
    layers.SqueezeExcite: {"channels": 8},
    layers.StemPool: {},
    layers.Swish: {},
    squeeze_excite.SqueezeExcite: {"in_channels": 8},
    squeeze_excite.SqueezeExciteV2: {"in_channels": 8},
    HaloNet: {"spec": HALONET_TEST},
}


def wrong_values(owner: type, name: str, annotation: str) -> list[object]:
    """For a field or an argument; of a type that is in no table there are none, which fails the test."""
    kind = KINDS.get(name, annotation.partition(" | ")[0])
    if kind in ("Stem", "Halo", "ChannelAttention", "Spec", "nn.Cell", "Dialect"):
        kind = "object"
    if kind == "tuple[Stage, ...]":
        values = [(), [], None, "CC", Stage("C", 8), ("C",), (None,), (Stage("C", 8, 8), 5)]
    else:
        values = list(WRONG[kind])
    if name == "dialect":  # a word is a dialect too
        values = [value for value in values if value != "timm"]
    if annotation.endswith(" | None"):
        values = [value for value in values if value is not None]
    if name in ZEROS:
        values = [value for value in values if not (type(value) is int and value == 0)]
    more = () if owner is layers.Conv2dNormActivation else MORE.get(name, ())  # its kernels may be even, as MindCV's
    return [*values, *more]


def shown(value: object) -> str:
    return f"{type(value).__name__} {value!r}"  # NumPy's numbers look like Python's


def cases_of_specs():
    for kind, example in SPECS.items():
        for field in fields(kind):
            if field.name != "_":
                for value in wrong_values(kind, field.name, field.type):
                    yield f"{kind.__name__}.{field.name}: {shown(value)}", (example, field.name, value)


def arguments_of(kind: type) -> dict[str, inspect.Parameter]:
    skipped = UNCHECKED.get(kind.__name__.removesuffix("V2"), set()) if kind is not layers.SqueezeExcite else set()
    parameters = inspect.signature(kind.__init__).parameters
    return {
        name: item
        for name, item in parameters.items()
        if name not in {"self", "args", "kwargs"} | skipped and item.kind is not item.VAR_KEYWORD
    }


def cases_of_layers():
    for kind in LAYERS:
        for name, item in arguments_of(kind).items():
            for value in wrong_values(kind, name, item.annotation):
                path = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
                yield f"{path}, {name}: {shown(value)}", (kind, name, value)


def test_nothing_is_left_out():
    ours = {kind for kind in vars(specs).values() if is_dataclass(kind) and isinstance(kind, type)}
    assert ours == {*SPECS, specs.Block}  # which only a checked Spec makes
    named = {getattr(layers, name) for name in layers.__all__}
    assert named <= LAYERS.keys()


def test_specifications():
    def check(_: str, case: tuple) -> None:
        example, field, value = case
        with pytest.raises(UserError) as raised:
            replace(example, **{field: value})
        part = value[-1] if field == "stages" and isinstance(value, tuple) and value else value  # the one that is none
        assert field in str(raised.value) and repr(part) in str(raised.value)

    check_all(dict(cases_of_specs()), check)


def test_arguments():
    def check(_: str, case: tuple) -> None:
        kind, name, value = case
        with pytest.raises(UserError) as raised:
            kind(**LAYERS[kind] | {name: value})
        words = repr(value) if name != "dialect" or not isinstance(value, Dialect) else value.name
        assert name in str(raised.value) and words.strip("'") in str(raised.value)

    check_all(dict(cases_of_layers()), check)


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_numpys_numbers(kind):
    """A layer takes them as what they are, so that MindSpore sees Python's."""
    given = {
        name: np.int64(value) if type(value) is int else tuple(map(np.int32, value)) if type(value) is tuple else value
        for name, value in LAYERS[kind].items()
    }
    for name, item in arguments_of(kind).items():
        if type(item.default) in (int, float, bool):
            given.setdefault(name, np.asarray(item.default)[()])
    cell = kind(**given)
    numbers = [value for _, inner in cell.cells_and_names() for value in vars(inner).values()]
    assert not any(isinstance(value, np.generic) for value in numbers)


def test_a_specification_of_numpys_numbers():
    stage = Stage("CA", np.int64(32), np.int32(16), stride=np.uint8(1), num_heads=np.int64(4))
    spec = Spec("mine", Stem([np.int64(16)], [np.int64(2)]), [stage], halo=Halo(np.int64(2), np.int64(1)))
    same = Spec("mine", Stem((16,), (2,)), (Stage("CA", 32, 16, stride=1, num_heads=4),), halo=Halo(2, 1))
    assert spec == same and hash(spec) == hash(same)
    assert type(spec.stages[0].width) is int and type(spec.halo.block_size) is int


@pytest.mark.parametrize("name", ["gelu", "GELU", "Relu", "mish", "", 5, True, nn.ReLU])
def test_activations(name):
    with pytest.raises(UserError, match=r"activation: act .* must be one of relu, silu, None"):
        make_activation(name)


def stages(pattern: str, *numbers: int, **options) -> dict[str, object]:
    return {"stages": (Stage(pattern, *numbers, **options),)}


@pytest.mark.parametrize(
    "changes, message",
    [
        (lambda: stages("L", 32, 12, stride=1), r"halonet_test, stage 1: inner width 12 must be a multiple of num_h"),
        (lambda: stages("T", 32, 12, stride=1), r"stage 1: inner width 12 must be a multiple of num_heads 8"),
        (lambda: stages("A", 32, 12), r"stage 1: width of the values 12 must be a multiple of num_heads 8"),
        (lambda: {"halo": Halo(2, 1, value_expansion=1.1)}, r"stage 2: width of the values 26 must be a multiple of"),
        (lambda: {"halo": Halo(2, 1, value_expansion=0.01)}, r"enlarge inner, expansion or value_expansion"),
        (lambda: {"halo": Halo(2, 1, qk_ratio=0.1), **stages("A", 32, 32, num_heads=16)}, r"at least one channel fo"),
        (lambda: {"group_width": 5}, r"stage 1: inner width 16 must be a multiple of group_width 5"),
        (lambda: {"group_width": 32}, r"stage 1: inner width 16 must be a multiple of group_width 32"),
        (lambda: stages("C", 32), r"halonet_test: a stage's inner is 0, which needs expansion; set the one or the o"),
        (lambda: {**stages("C", 32), "expansion": 0.01}, r"16 channels become 0 between"),
        (lambda: stages("LC", 32, 16), r"stride 2 of the first block of 'LC', lambda layer, must be 1; put a C or a"),
        (lambda: stages("T", 32, 16), r"stride 2 of the first block of 'T', bottleneck attention, must be 1"),
        (lambda: stages("A", 32, 16, stride=3), r"stride 3 of the first block of 'A', halo attention, must be 1 or 2"),
        (lambda: {"halo": Halo(2, 1, dim_head=4, qk_ratio=0.5)}, r"Halo: dim_head 4 replaces qk_ratio 0.5; leave one"),
        (lambda: {"gate": ChannelAttention("eca", ratio=0.5)}, r"ratio 0.5 and act None are those of 'se'"),
        (lambda: {"gate": ChannelAttention("eca", act="relu")}, r"act 'relu' are those of 'se'; leave them out for "),
        (lambda: stages("CX", 32, 16), r"pattern 'CX' has the letter 'X'; a block is one of C \(3x3 convolution\), "),
    ],
)  # fmt: skip
def test_what_does_not_go_together(changes, message):
    with pytest.raises(UserError, match=message):
        replace(HALONET_TEST, **changes())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.LambdaLayer(10, num_heads=4), r"LambdaLayer: dim 10 must be a multiple of num_heads 4"),
        (lambda: layers.BottleneckAttention(10, map_size=(4, 4)), r"BottleneckAttention: dim 10 must be a multiple "),
        (lambda: layers.ConvNormAct(6, 8, groups=4), r"ConvNormAct: in_channels 6 must be a multiple of groups 4"),
        (lambda: layers.ConvNormAct(8, 6, groups=4), r"ConvNormAct: out_channels 6 must be a multiple of groups 4"),
        (lambda: layers.Conv2dNormActivation(8, 6, groups=4), r"out_channels 6 must be a multiple of groups 4"),
        (lambda: layers.RelativePosition((4, 7), (6, 6), 4), r"queries \(4, 7\) must be at most the keys \(6, 6\)"),
        (lambda: layers.HaloAttention(16, stride=3), r"HaloAttention: stride 3 must be 1 or 2"),
        (lambda: layers.HaloAttention(16, dim_head=4, qk_ratio=0.5), r"dim_head 4 replaces qk_ratio 0.5; leave one "),
        (lambda: layers.HaloAttention(32, num_heads=32, qk_ratio=0.1), r"at least one channel for each of num_heads"),
        (lambda: HaloNet("halonet_50t"), r"HaloNet: spec 'halonet_50t' must be a Spec"),
    ],
)  # fmt: skip
def test_layers_whose_settings_do_not_go_together(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("size", WRONG["tuple[int, int]"], ids=str)
def test_sizes_to_count_for(size):
    with pytest.raises(UserError, match=r"count_macs: image_size .* must be \(height, width\)"):
        count_macs(HaloNet(replace(HALONET_TEST, stages=HALONET_TEST.stages[:1])), size)


def test_what_lists_and_sides_stand_for():
    """A list compares with no tuple, so that a map of the right size would be refused."""
    assert layers.BottleneckAttention(8, map_size=[4, 6]).map_size == (4, 6)
    assert HaloNet(HALONET_TEST, 0, image_size=[64, 96]).built_size == (64, 96)
    assert HaloNet(HALONET_TEST, 0, image_size=64).built_size == (64, 64)
    assert HaloNet(HALONET_TEST, 0, dialect="keras").dialect is DIALECTS["keras"]
    assert HaloNet(HALONET_TEST, 0, dialect=replace(DIALECTS["keras"])).dialect is DIALECTS["keras"]
