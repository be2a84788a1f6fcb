"""Whatever somebody does to a network: on native kernels it computes what it computes without them, or is refused.

The walk takes every kind of place in some small networks once (a cell's class, its name and its parent's class) and
changes one thing there: puts another cell into it, changes an attribute or a number's type, registers a hook, asks for
half precision.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn
from support.drawn_norms import draw_norms
from support.small_networks import SMALL
from support.table import check_all
from support.ways import has_kernels

from mindcv_halo import accelerate, create_model, fuse_batchnorm
from mindcv_halo.errors import UserError
from mindcv_halo.models.layers import BottleneckAttention, HaloAttention, LambdaLayer
from mindcv_halo.models.layers.channel_attention import EfficientChannelAttention, SqueezeExcite
from mindcv_halo.models.layers.random_drop import DropPath
from mindcv_halo.models.layers.stem_pool import StemPool
from mindcv_halo.models.network import HaloNet
from mindcv_halo.models.specs import ChannelAttention, Stage
from mindcv_halo.native.as_built import find_changes
from mindcv_halo.training.amp import auto_mixed_precision

pytestmark = pytest.mark.skipif(not has_kernels(), reason="no C++ compiler here, or no MindSpore that kernels fit")

TOLERANCE = 1e-5  # of the largest entry
SIZE = 20
# Networks that have every kind of layer with kernels between them, each as few as can be: every walk looks at each
# layer once for every change.
SPECS = {
    "convolutions": replace(SMALL, stages=SMALL.stages[:1]),
    "halo attention": replace(SMALL, stages=SMALL.stages[1:]),
    "other attentions": replace(SMALL, stages=(Stage("LT", 16, 8, stride=1, num_heads=2),)),
    "gates and a last convolution": replace(
        SMALL, stages=(Stage("C", 16, 8),), gate=ChannelAttention("se"), head_width=32
    ),
    "gates along channels": replace(SMALL, stages=(Stage("C", 16, 8),), gate=ChannelAttention("eca")),
}


def build(kind: str) -> HaloNet:
    return HaloNet(SPECS[kind], 10, drop_rate=0.2, drop_path_rate=0.3, image_size=SIZE)


class Doubled(nn.Cell):
    """A cell of somebody's own in the place of another."""

    def __init__(self, cell: nn.Cell):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x):
        return 2 * self.cell(x)


Place = tuple[str, nn.Cell, str, nn.Cell]  # path, parent, name, cell


def list_places(network: nn.Cell, seen: set | None = None) -> Iterator[Place]:
    """One of each kind, but for those in `seen`."""
    seen = set() if seen is None else seen
    for path, parent in network.cells_and_names():
        for name, cell in parent.name_cells().items():
            kind = (type(parent), "" if name.isdigit() else name, type(cell))
            if kind not in seen:
                seen.add(kind)
                yield f"{path}.{name}".lstrip("."), parent, name, cell


def is_called(path: str) -> bool:
    """Whether kernels leave a place to what is there: heads, attentions and gates are called as they are."""
    return path in ("classifier", "dropout") or path.startswith(("classifier.", "dropout."))


@cache
def list_networks() -> dict[str, tuple[nn.Cell, list[Place]]]:
    """The network of each spec, and the places in it of kinds that no network before it has."""
    seen: set = set()
    networks = {kind: build(kind) for kind in SPECS}
    return {kind: (network, list(list_places(network, seen))) for kind, network in networks.items()}


@pytest.fixture(params=SPECS)
def walk(request) -> tuple[nn.Cell, list[Place]]:
    return list_networks()[request.param]


@pytest.fixture(scope="module", params=SPECS)
def native(request) -> nn.Cell:
    return accelerate(build(request.param))


def test_every_kind_of_place_is_walked():
    for kind, (network, places) in list_networks().items():
        assert find_changes(network) == [] and places, kind
    kinds = {type(cell) for _, places in list_networks().values() for *_, cell in places}
    assert kinds >= {
        HaloAttention,
        LambdaLayer,
        BottleneckAttention,
        StemPool,
        SqueezeExcite,
        EfficientChannelAttention,
        DropPath,
        nn.Identity,
    }


def test_a_cell_of_ones_own(walk):
    network, places = walk
    for path, parent, name, cell in places:
        parent._cells[name] = Doubled(cell)
        if isinstance(parent, nn.SequentialCell):
            parent.cell_list = list(parent.cells())
        found = find_changes(network)
        parent._cells[name] = cell
        if isinstance(parent, nn.SequentialCell):
            parent.cell_list = list(parent.cells())
        called = is_called(path) or path.endswith((".attention", ".gate"))
        assert bool(found) != called, path
    assert find_changes(network) == []


def test_an_attribute(walk):
    """A changed number, word or operator is refused, but for notes that nothing reads."""
    network, places = walk
    count = 0
    for path, _, _, cell in places:
        if is_called(path):
            continue
        for name, value in list(vars(cell).items()):
            if (
                name.startswith("_")
                or name in UNREAD
                or not isinstance(value, bool | int | float | str | ms.ops.Primitive)
            ):
                continue
            cell.__dict__[name] = change_value(value)
            found = find_changes(network)
            cell.__dict__[name] = value
            count += 1
            assert found, f"{path}.{name}"
    assert count >= 8
    assert find_changes(network) == []


# Of MindSpore's own: they say how a cell was made or where it runs, and no construct of a layer reads them. `training`
# has tests of its own.
UNREAD = {
    *("training", "requires_grad", "is_top_cell", "arguments_key", "cell_type", "grad_ops_label", "has_bprop"),
    *("mixed_precision_type", "weight_init", "bias_init", "gamma_init", "beta_init", "moving_mean_init"),
    *("moving_var_init", "cls_name", "parallel_mode", "seed", "frozen"),
    *("scale", "threshold", "last_kept"),  # of the cells for dropout, which are called
    *("has_shortcut", "scale_pos_embed", "mask_padding", "scrambled_windows"),  # which kernels follow
}


def change_value(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, ms.ops.Primitive):
        return ms.ops.ReLU6()
    return value + 2


def list_hooks(cell: nn.Cell) -> list[Callable]:
    return [
        cell.register_forward_hook,
        cell.register_forward_pre_hook,
        cell.register_backward_hook,
        cell.register_backward_pre_hook,
    ]


def hook(*arguments):
    return None


def test_a_hook(walk):
    network, places = walk
    for path, _, _, cell in places:
        if is_called(path) or isinstance(cell, nn.CellList):  # which nobody calls
            continue
        for register in list_hooks(cell):
            if cell.has_bprop and register.__name__.startswith("register_forward"):
                continue  # MindSpore takes none there
            handle = register(hook)
            found = find_changes(network)
            handle.remove()
            if register.__name__ == "register_backward_pre_hook":
                cell._cell_backward_pre_hook = None
            if register.__name__ == "register_backward_hook":
                cell._cell_backward_hook = None
            assert found, f"{path}: {register.__name__}"


def test_half_precision(walk):
    network, places = walk
    for path, _, _, cell in places:
        if not is_called(path) and not isinstance(cell, nn.CellList):
            cell.add_flags(fp16=True)
            found = find_changes(network)
            cell.add_flags(fp16=False)
            assert found, path


def test_numbers_of_another_type(walk):
    network, places = walk
    for path, _, _, cell in places:
        for name, parameter in list(cell._params.items()):
            if parameter is None or is_called(path):
                continue
            cell._params[name] = Parameter(parameter.astype(ms.float16), name=parameter.name)
            found = find_changes(network)
            cell._params[name] = parameter
            assert found, f"{path}.{name}"


def create_portable(native: nn.Cell) -> HaloNet:
    return HaloNet(native.spec, 10, drop_rate=0.2, drop_path_rate=0.3, image_size=SIZE)


def test_every_change_afterwards(native):
    """On the network that runs already: each is refused where it is made, and changes nothing."""
    images = Tensor(np.random.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32))
    expected = run_by_operator(native, images).asnumpy()
    count = 0
    layers = {path for path, _ in create_portable(native).cells_and_names()}
    for path, parent, name, cell in list(list_places(native)):
        if is_called(path) or ".keep" in path or path not in layers:  # masks are drawn as ever; a kernel's own cell
            continue
        changes: list[Callable] = [lambda parent=parent, name=name: setattr(parent, name, nn.ReLU6())]
        if isinstance(parent, nn.SequentialCell | nn.CellList):
            changes = [lambda parent=parent: parent.append(nn.ReLU6())]
            changes += [lambda parent=parent: parent.__setitem__(0, nn.ReLU6())]
        if isinstance(parent, nn.CellList):
            changes += [lambda parent=parent: parent.insert(0, nn.ReLU6())]
        changes += [lambda register=register: register(hook) for register in list_hooks(cell)]
        changes += [lambda cell=cell: cell.to_float(ms.float16), lambda cell=cell: cell.to_float(ms.bfloat16)]
        changes += [lambda cell=cell: copy.deepcopy(cell), lambda cell=cell: copy.copy(cell)]
        changes += [
            lambda cell=cell, name=name, value=value: setattr(cell, name, change_value(value))
            for name, value in vars(cell).items()
            if not name.startswith("_")
            and name not in UNREAD | {"use_batch_statistics", "enters", "adds", "alone"}
            and isinstance(value, bool | int | float | str)
        ]
        changes += [lambda cell=cell, name=name: setattr(cell, name, Parameter(Tensor([1.0]))) for name in cell._params]
        for change in changes:
            count += 1
            try:
                change()
            except UserError:
                continue
            pytest.fail(f"{path}: {change.__defaults__} was taken")
    assert count > 200
    np.testing.assert_array_equal(run_by_operator(native, images).asnumpy(), expected)


@pytest.mark.parametrize(
    "convert, level",
    [(auto_mixed_precision, "O1"), (auto_mixed_precision, "O2"), (auto_mixed_precision, "O3")]
    + [(ms.amp.auto_mixed_precision, "O2"), (ms.amp.auto_mixed_precision, "O3")],
)
def test_precision_before_and_after(convert, level):
    """Our levels and MindSpore's own, of which O1 fails on any network with ops.concat."""
    before = convert(build_small(), level)
    with pytest.raises(UserError, match=r"accelerate: |half|precision"):
        accelerate(before)
    after = accelerate(build_small())
    with pytest.raises(UserError):
        convert(after, level)


def run_by_operator(network: nn.Cell, images: Tensor) -> Tensor:
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        return network(images)
    finally:
        ms.set_context(mode=mode)


@cache
def make_portable() -> nn.Cell:
    """With random weights; for copying."""
    return draw_norms(HaloNet(SMALL, 12))


def build_small() -> nn.Cell:
    return copy.deepcopy(make_portable())


def build_pair() -> tuple[nn.Cell, nn.Cell]:
    """Two portable networks with the same random weights, each in a memory of its own."""
    other, portable = build_small(), build_small()
    load(other, portable)
    return other, portable


def load(network: nn.Cell, source: nn.Cell) -> None:
    copies = {name: Parameter(p.asnumpy().copy(), name=name) for name, p in source.parameters_dict().items()}
    ms.load_param_into_net(network, copies)


def assert_same(native: nn.Cell, portable: nn.Cell, images: Tensor) -> None:
    """The same output, and the same running statistics after it."""
    actual, expected = native(images).asnumpy(), run_by_operator(portable, images).asnumpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    for name, parameter in portable.parameters_dict().items():
        np.testing.assert_allclose(
            native.parameters_dict()[name].asnumpy(), parameter.asnumpy(), rtol=1e-4, atol=1e-5, err_msg=name
        )


def draw_images() -> Tensor:
    return Tensor(np.random.standard_normal((2, 3, SIZE, SIZE)).astype(np.float32))


def freeze_norms(network: nn.Cell) -> None:
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.set_train(False)


def freeze_norms_by_attribute(network: nn.Cell) -> None:
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            cell.use_batch_statistics = False


def freeze_half(network: nn.Cell) -> None:
    network.set_train(False)
    network.stages[1].set_train()


STATES = {
    "training": lambda network: network.set_train(),
    "evaluation": lambda network: network.set_train(False),
    "frozen norms": lambda network: (network.set_train(), freeze_norms(network)),
    "norms frozen by their attribute": lambda network: (network.set_train(), freeze_norms_by_attribute(network)),
    "one stage trains": freeze_half,
}


def test_states(pynative):
    check_all(product(STATES, ["before", "after"]), lambda case: check_state(*case))


@pytest.mark.parametrize("state, order", [("frozen norms", "after"), ("one stage trains", "before")])
def test_states_in_graph_mode(graph, state, order):
    check_state(state, order)


def check_state(state: str, order: str) -> None:
    native, portable = build_pair()
    STATES[state](portable)
    if order == "before":
        STATES[state](native)
    native = accelerate(native)
    if order == "after":
        STATES[state](native)
    assert_same(native, portable, draw_images())


def another_norm(network: nn.Cell) -> None:
    norm = network.stages[0][0].reduce.norm
    other = nn.BatchNorm2d(norm.num_features, eps=1e-3, momentum=0.7)
    other.update_parameters_name("stages.0.0.reduce.norm.")
    network.stages[0][0].reduce.norm = other


def own_gate(network: nn.Cell) -> None:
    network.stages[0][0].mix.gate = nn.SequentialCell(nn.AvgPool2d(3, 1, "same"), nn.ReLU())


def own_attention(network: nn.Cell) -> None:
    mix = next(cell.mix for _, cell in network.cells_and_names() if hasattr(getattr(cell, "mix", None), "attention"))
    mix.attention = nn.MaxPool2d(mix.attention.stride, mix.attention.stride, "same")


HEADS: dict[str, Callable[[int], nn.Cell]] = {
    "fewer classes": lambda channels: nn.Dense(channels, 10),
    "no bias": lambda channels: nn.Dense(channels, 10, has_bias=False),
    "activation": lambda channels: nn.Dense(channels, 10, activation="relu"),
    "two layers": lambda channels: nn.SequentialCell(nn.Dense(channels, 8), nn.ReLU(), nn.Dense(8, 10)),
    "none": lambda channels: nn.Identity(),
    "of one's own": lambda channels: Doubled(nn.Dense(channels, 10)),
}


def put_head(network: nn.Cell, head: nn.Cell) -> None:
    for parameter in head.get_parameters():
        parameter.set_data(Tensor(np.random.default_rng(1).standard_normal(parameter.shape).astype(np.float32)))
    network.classifier = head


# Before the first call there is no plan yet to go stale; where nothing is frozen, there is none at all.
NEW = [("before", True, head) for head in HEADS] + [("after", True, head) for head in ("none", "no bias")]
NEW += [("before", False, head) for head in ("none", "two layers")]
MORE = [case for case in product(("before", "after"), (True, False), HEADS) if case not in NEW]


@pytest.mark.parametrize(
    "cases", [NEW, pytest.param(MORE, marks=pytest.mark.thorough)], ids=["new networks", "more of them"]
)
def test_heads(pynative, cases):
    """Exchanged before accelerate or after it, on a network that was never called."""

    def check(case):
        order, frozen, head = case
        native = build_small()
        if order == "before":
            put_head(native, HEADS[head](native.num_features))
        native = accelerate(native, frozen=frozen)
        if order == "after":
            put_head(native, HEADS[head](native.num_features))
        check_head(native, head)

    check_all(cases, check)


@pytest.mark.parametrize("frozen", [False, True])
def test_heads_after_a_call(pynative, frozen):
    """One after another on one network, which is called each time."""
    native = accelerate(build_small(), frozen=frozen)
    native(draw_images())

    def check(head):
        put_head(native, HEADS[head](native.num_features))
        check_head(native, head)

    check_all((*HEADS, *reversed(HEADS)), check)


@cache
def images_of_heads() -> Tensor:
    return draw_images()


@cache
def find_expected(head: str) -> np.ndarray:
    portable = build_small()
    put_head(portable, HEADS[head](portable.num_features))
    return portable(images_of_heads()).asnumpy()


def check_head(native: nn.Cell, head: str) -> None:
    allowed = TOLERANCE * np.abs(find_expected(head)).max()
    np.testing.assert_allclose(native(images_of_heads()).asnumpy(), find_expected(head), rtol=0, atol=allowed)


@pytest.mark.parametrize("change", [another_norm, own_gate, own_attention])
@pytest.mark.parametrize("frozen", [False, True])
def test_changes_that_kernels_follow(change, frozen):
    native, portable = build_pair()
    for network in (native, portable):
        change(network)
        network.set_train(not frozen)
    load(native, portable)
    assert_same_by_operator(accelerate(native, frozen=frozen), portable)


def assert_same_by_operator(native: nn.Cell, portable: nn.Cell) -> None:
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        assert_same(native, portable, draw_images())
    finally:
        ms.set_context(mode=mode)


def test_other_weights_in_a_frozen_network(mode):
    """Loaded, assigned, and written in place, where MindSpore keeps the memory."""
    native, portable = (net.set_train(False) for net in build_pair())
    images = draw_images()
    frozen = accelerate(native, frozen=True)
    frozen(images)
    load(frozen, draw_norms(HaloNet(SMALL, 12)))
    load(frozen, portable)
    assert_same(frozen, portable, images)
    for network in (frozen, portable):
        for parameter in network.get_parameters():
            if parameter.name.endswith("conv.weight"):
                ms.ops.assign(parameter, Tensor(parameter.asnumpy() * 1.5))
    assert_same(frozen, portable, images)


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_in_half_precision_afterwards(frozen):
    """MindSpore changes a parameter's type in place; its numbers read as float32 would lie beyond its memory."""
    network = accelerate(build_small().set_train(False), frozen=frozen)
    next(network.get_parameters()).set_dtype(ms.float16)
    with pytest.raises(RuntimeError):
        run_by_operator(network, draw_images()).asnumpy()


def test_a_hook_on_the_whole_network():
    calls = []
    for frozen in (False, True):
        network = accelerate(build_small().set_train(False), frozen=frozen)
        network.register_forward_hook(lambda cell, inputs, output: calls.append(output.shape))
        run_by_operator(network, draw_images())
    assert calls == [(2, 12)] * 2


def test_cells_that_train_in_a_frozen_network():
    network = create_model("halonet_test", drop_path_rate=0.3).set_train(False)
    network.stages[1].set_train()
    with pytest.raises(UserError, match=r"trains.*set_train\(False\)"):
        accelerate(network, frozen=True)
    frozen = accelerate(network.set_train(False), frozen=True)
    layers = [path for path, _ in create_model("halonet_test").cells_and_names()]
    for path, _, _, cell in list_places(frozen):
        if path in layers:
            with pytest.raises(UserError, match="frozen, for inference"):
                cell.set_train()
    with pytest.raises(UserError, match="frozen"):
        frozen.stem.conv1.norm.use_batch_statistics = True


@pytest.mark.parametrize("frozen", [False, True])
def test_copies_and_exports_are_refused_with_the_way_out(frozen, tmp_path):
    portable = build_small().set_train(False)
    native = accelerate(copy.deepcopy(portable), frozen=frozen)
    for make_copy in (copy.deepcopy, copy.copy, fuse_batchnorm):
        with pytest.raises(UserError, match="copy the network .* first"):
            make_copy(native)
    images = draw_images()
    for network in (native, nn.SequentialCell(native, nn.Softmax())):
        with pytest.raises(UserError, match="export it before accelerate"):
            ms.export(network, images, file_name=str(tmp_path / "x"), file_format="MINDIR")
    assert not list(tmp_path.glob("*.mindir"))
    accelerate(copy.deepcopy(portable), frozen=frozen)
    assert run_by_operator(native, images).shape == (2, 12)


@pytest.mark.parametrize("shape", [(0, 3, SIZE, SIZE), (1, 3, 0, SIZE), (1, 3, SIZE, 0)])
def test_images_that_hold_nothing(shape):
    nothing = Tensor(np.zeros(shape, np.float32))
    networks = [accelerate(build_small())]
    networks += [accelerate(create_model("halonet_test", features_only=True))]
    networks += [accelerate(build_small(), frozen=True)]
    networks += [accelerate(HaloAttention(3, num_heads=3, block_size=4, halo_size=1))]
    for network in networks:
        with pytest.raises(ValueError, match="holds no"):
            run_by_operator(network, nothing)


def test_an_array_is_told_to_be_a_tensor():
    images = draw_images().asnumpy()
    for network in (accelerate(build_small()), accelerate(build_small(), frozen=True)):
        with pytest.raises(TypeError, match=r"mindspore\.Tensor\(images\)"):
            run_by_operator(network, images)
