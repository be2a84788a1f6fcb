"""Deliberate faults, each a line or two of the library that says something else, and the tests that are to fail for it.

`old` stands exactly once in its file; tests/modules/test_mutants.py fails where it does not any more. Tests are what
pytest takes, files and perhaps -k, and cheap: seconds for each fault.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "mindcv_halo"


@dataclass(frozen=True)
class Fault:
    """`new` in the place of `old` in `file`, a path below the package; `tests` are of what says so."""

    name: str
    path: str
    old: str
    new: str
    tests: str

    @property
    def file(self) -> str:
        """Its path in the repository."""
        return f"{PACKAGE}/{self.path}"

    @property
    def room(self) -> str:
        """The folder of the package, or the module beside them, that it is in."""
        return self.path.partition("/")[0]

    @property
    def is_compiled(self) -> bool:
        """Whether its file is C++, which is compiled anew for it."""
        return self.path.endswith((".cpp", ".hpp"))

    @property
    def is_for_tiles(self) -> bool:
        """Whether its file is compiled for processors with AMX alone."""
        return self.path == "native/src/pointwise_bfloat16.cpp"

    @property
    def test_files(self) -> list[str]:
        return [word.partition("::")[0] for word in shlex.split(self.tests) if word.startswith("tests/")]

    def check(self) -> None:
        """Raises ValueError where it would not change its file in one place."""
        count = (ROOT / self.file).read_text(encoding="utf-8").count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: `old` stands {count} times in {self.file}, not once")
        if self.old == self.new:
            raise ValueError(f"{self.name}: `new` is what stands there")


_ATTENTION = "models/layers/halo_attention.py"
_BFLOAT16_TESTS = "tests/modules/native/test_bfloat16.py"
_ATTENTION_TESTS = "tests/modules/models/test_halo_attention.py"
_GOLDEN = "tests/tasks/test_golden_models.py -k"
_LOADER_TESTS = "tests/modules/data/test_loader.py"
_STEP_TESTS = "tests/modules/training/test_train_step.py"

FAULTS = (
    # ---- Layers
    Fault(
        "products scaled by the width, not by its root",
        _ATTENTION,
        "self.scale = self.dim_key**-0.5",
        "self.scale = 1 / self.dim_key",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "windows one pixel too far to the right and below",
        "models/layers/window.py",
        "* block_size - halo_size\n",
        "* block_size - halo_size + 1\n",
        f"{_ATTENTION_TESTS} -k 'loops or halo'",
    ),
    Fault(
        "last column of the map taken for outside",
        "models/layers/window.py",
        "(columns >= 0) & (columns < width)",
        "(columns >= 0) & (columns < width - 1)",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "padding mask inverted",
        _ATTENTION,
        "np.where(outside, np.float32(OUTSIDE_LOGIT), np.float32(0))",
        "np.where(outside, np.float32(0), np.float32(OUTSIDE_LOGIT))",
        f"{_ATTENTION_TESTS} -k mask",
    ),
    Fault(
        "padding mask forgotten",
        _ATTENTION,
        "        if self.mask_padding:\n",
        "        if False:\n",
        f"{_ATTENTION_TESTS} -k mask",
    ),
    Fault(
        "softmax over queries instead of keys",
        _ATTENTION,
        "ops.softmax(logits_NTQK, -1)",
        "ops.softmax(logits_NTQK, -2)",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "heads take turns by channel",
        _ATTENTION,
        "kv = kv.reshape(batch * self.num_heads, depth, height * width).transpose(0, 2, 1)",
        "kv = kv.reshape(batch, depth, self.num_heads, height * width).transpose(0, 2, 3, 1)"
        ".reshape(batch * self.num_heads, height * width, depth)",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "keys and values exchanged",
        _ATTENTION,
        "return self.halve(kv_NTKD)",
        "return self.halve(kv_NTKD)[::-1]",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "stride of attention ignored, and the output cropped",
        _ATTENTION,
        "query_stride = 1 if pool else stride",
        "query_stride = 1",
        f"{_ATTENTION_TESTS} -k 'loops or stride'",
    ),
    Fault(
        "largest number pooled behind attention, not the mean",
        _ATTENTION,
        "nn.AvgPool2d(2, 2) if pool",
        "nn.MaxPool2d(2, 2) if pool",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "position logits scaled that are not to be",
        _ATTENTION,
        "return self.matmul_transposed(q_NTQD * self.scale, k_NTKD) + position_NTQK",
        "return (self.matmul_transposed(q_NTQD, k_NTKD) + position_NTQK) * self.scale",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "relative positions with the other sign",
        "models/layers/relative_position.py",
        "np.arange(keys)[None, :] - np.arange(queries)[:, None]",
        "np.arange(queries)[:, None] - np.arange(keys)[None, :]",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "position tables of rows and columns exchanged",
        "models/layers/relative_position.py",
        "ops.concat((row_logits, column_logits), -1)",
        "ops.concat((column_logits, row_logits), -1)",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "the map's last pixel in the place of zeros outside",
        "models/layers/window_reader.py",
        "ops.gather(_append_zeros(x_MPD), pixels, 1)",
        "ops.gather(x_MPD, ops.clamp(pixels, 0, x_MPD.shape[1] - 1), 1)",
        f"{_ATTENTION_TESTS} -k loops",
    ),
    Fault(
        "gathered gradients of one window alone",
        "models/layers/window_reader.py",
        "return copies.sum(2),",
        "return copies[:, :, 0],",
        f"{_ATTENTION_TESTS} -k gathered",
    ),
    Fault(
        "bottleneck attention without its scale",
        "models/layers/bottleneck_attention.py",
        "self.matmul_transposed(q * self.scale, k)",
        "self.matmul_transposed(q, k)",
        f"{_GOLDEN} 'evaluation and halo2botnet and not graph'",
    ),
    Fault(
        "queries and keys of bottleneck attention exchanged",
        "models/layers/bottleneck_attention.py",
        "q, k, v = qkv[0], qkv[1], qkv[2]",
        "k, q, v = qkv[0], qkv[1], qkv[2]",
        f"{_GOLDEN} 'evaluation and halo2botnet and not graph'",
    ),
    Fault(
        "lambda layer without its positions",
        "models/layers/lambda_layer.py",
        "content_BDV.expand_dims(1) + position_BMDV",
        "content_BDV.expand_dims(1) + 0 * position_BMDV",
        f"{_GOLDEN} 'evaluation and lamhalobotnet and not graph'",
    ),
    Fault(
        "squeeze-and-excitation without its activation",
        "models/layers/channel_attention.py",
        "self.expand(self.act(self.reduce(x.mean((2, 3), keep_dims=True))))",
        "self.expand(self.reduce(x.mean((2, 3), keep_dims=True)))",
        f"{_GOLDEN} 'evaluation and sehalonet33ts and not graph'",
    ),
    Fault(
        "efficient channel attention with a larger kernel",
        "models/layers/channel_attention.py",
        "length if length % 2 else length + 1, 3",
        "length if length % 2 else length + 1, 5",
        "tests/modules/models/test_parameter_counts.py",
    ),
    Fault(
        "stem convolutions without padding at two sides",
        "models/layers/conv_norm_act.py",
        '            pad_mode="pad",\n            padding=kernel_size // 2,',
        '            pad_mode="pad",\n            padding=(0, kernel_size - 1, 0, kernel_size - 1),',
        f"{_GOLDEN} 'evaluation and halonet26t and not graph'",
    ),
    Fault(
        "batch norm with another eps",
        "models/layers/conv_norm_act.py",
        "eps=1e-5, momentum=0.9",
        "eps=1e-3, momentum=0.9",
        f"{_GOLDEN} 'evaluation and halonet26t and not graph'",
    ),
    Fault(
        "running statistics that forget nine tenths",
        "models/layers/conv_norm_act.py",
        "eps=1e-5, momentum=0.9",
        "eps=1e-5, momentum=0.1",
        f"{_GOLDEN} 'step and pynative and eca_halonext26ts'",
    ),
    Fault(
        "residual branches that do not start at zero",
        "models/layers/conv_norm_act.py",
        'gamma_init="zeros" if zero_init else "ones"',
        'gamma_init="ones"',
        "tests/modules/models/test_create_model.py -k shortcut",
    ),
    Fault(
        "shortcut dropped",
        "models/layers/bottleneck.py",
        "branch + self.shortcut(x) if self.has_shortcut",
        "branch if self.has_shortcut",
        f"{_GOLDEN} 'evaluation and halonet26t and not graph'",
    ),
    Fault(
        "an activation behind the sum that is not to have one",
        "models/layers/bottleneck.py",
        "make_activation(act if act_after_sum else None)",
        "make_activation(act)",
        f"{_GOLDEN} 'evaluation and haloregnetz and not graph'",
    ),
    Fault(
        "the stem's border of one peer given to the other",
        "models/layers/stem_pool.py",
        '0.0 if check_flag("StemPool", "zero_border", zero_border) else LOWEST',
        'LOWEST if check_flag("StemPool", "zero_border", zero_border) else 0.0',
        f"{_GOLDEN} 'evaluation and halonet50ts and not graph'",
    ),
    Fault(
        "dropout that shrinks what it keeps",
        "models/layers/random_drop.py",
        "self.scale = 1 / (1 - rate)",
        "self.scale = 1.0",
        "tests/modules/models/test_random_drop.py",
    ),
    Fault(
        "dropout in evaluation",
        "models/layers/random_drop.py",
        "        if not self.training:\n            return x\n        return x * (self.keep(x.size)",
        "        return x * (self.keep(x.size)",
        "tests/modules/models/test_random_drop.py",
    ),
    # ---- Models
    Fault(
        "a block too few",
        "models/halonet.py",
        '(Stage("CC", 256, 64, stride=1), Stage("CC", 512, 128), Stage("CA", 1024, 256), Stage("AA", 2048, 512)),\n'
        '    halo=Halo(8, 2),\n    act="relu",\n)\n',
        '(Stage("CC", 256, 64, stride=1), Stage("CC", 512, 128), Stage("CA", 1024, 256), Stage("A", 2048, 512)),\n'
        '    halo=Halo(8, 2),\n    act="relu",\n)\n',
        "tests/modules/models/test_parameter_counts.py",
    ),
    Fault(
        "another activation in a model",
        "models/halonet.py",
        '    halo=Halo(8, 2),\n    act="relu",\n)\n',
        "    halo=Halo(8, 2),\n)\n",
        f"{_GOLDEN} 'evaluation and halonet26t and not graph'",
    ),
    Fault(
        "heads of a stage in another number",
        "models/halonet.py",
        'Stage("CCCA", 512, 128, num_heads=4)',
        'Stage("CCCA", 512, 128, num_heads=8)',
        "tests/modules/models/test_parameter_counts.py",
    ),
    Fault(
        "stochastic depth as strong in the first block",
        "models/network.py",
        "drop_path_rate * depth / max(len(blocks) - 1, 1)",
        "drop_path_rate",
        "tests/modules/models/test_create_model.py -k drop",
    ),
    Fault(
        "features of a stage taken one stage late",
        "models/network.py",
        "                if index in indices:\n",
        "                if index - 1 in indices:\n",
        "tests/modules/models/test_intermediates.py",
    ),
    Fault(
        "folded norms that forget the mean",
        "models/fusion.py",
        "return scale, beta - mean * scale",
        "return scale, beta",
        "tests/modules/models/test_fusion.py -k 'names or after or second or features'",
    ),
    Fault(
        "attention maps of another query of the block",
        "models/attention_maps.py",
        "inner[0] * attention.query_size + inner[1]]",
        "inner[1] * attention.query_size + inner[0]]",
        "tests/modules/models/test_attention_maps.py",
    ),
    Fault(
        "layers numbered from the head",
        "models/network.py",
        "for depth, block in enumerate(blocks, 1):",
        "for depth, block in enumerate(reversed(blocks), 1):",
        "tests/modules/models/test_create_model.py -k layer",
    ),
    # ---- Weights
    Fault(
        "rows and columns of positions exchanged in Keras's weights",
        "models/weights/sources/keras.py",
        '{"pos_emb_h": "height_rel", "pos_emb_w": "width_rel"}',
        '{"pos_emb_h": "width_rel", "pos_emb_w": "height_rel"}',
        f"{_GOLDEN} 'evaluation and HaloNetH0 and not graph'",
    ),
    Fault(
        "rows and columns of positions exchanged in MindCV's weights",
        "models/weights/sources/mindcv.py",
        '{"rel_height": "height_rel", "rel_width": "width_rel"}',
        '{"rel_height": "width_rel", "rel_width": "height_rel"}',
        f"{_GOLDEN} 'evaluation and mindcv and not graph'",
    ),
    Fault(
        "scale and shift of norms exchanged in torch's weights",
        "models/weights/rules.py",
        '    "weight": "gamma",\n    "bias": "beta",',
        '    "weight": "beta",\n    "bias": "gamma",',
        f"{_GOLDEN} 'evaluation and halonet26t and not graph'",
    ),
    Fault(
        "linear layers of Keras not transposed",
        "models/weights/formats/foreign_worker.py",
        "_LAYOUTS = {2: (1, 0), 3",
        "_LAYOUTS = {2: (0, 1), 3",
        "tests/modules/models/weights/test_read_foreign.py -k 'keras and not layout'",
    ),
    Fault(
        "convolutions of Keras mirrored",
        "models/weights/formats/foreign_worker.py",
        "4: (3, 2, 0, 1)}",
        "4: (3, 2, 1, 0)}",
        "tests/modules/models/weights/test_read_foreign.py -k 'keras and not layout'",
    ),
    Fault(
        "averages asked for, and weights taken",
        "models/weights/open.py",
        "weights = averaged if ema else {",
        "weights = {",
        "tests/modules/models/weights/test_fit.py -k averaged",
    ),
    Fault(
        "missing weights not missed",
        "models/weights/fit.py",
        "missing = sorted(parameters.keys() - ours.keys())",
        "missing = []",
        "tests/modules/models/weights/test_fit.py -k strict",
    ),
    Fault(
        "weights for colours not scaled for other channels",
        "models/weights/fit.py",
        "return repeated * np.asarray(IMAGE_CHANNELS / channels, weight.dtype)",
        "return repeated",
        "tests/modules/models/weights/test_fit.py -k channels",
    ),
    Fault(
        "position tables resized around another middle",
        "models/weights/position_tables.py",
        "return self.rows - 1 - (self.used - 1) / 2",
        "return (self.rows - 1) / 2",
        "tests/modules/models/weights/test_position_tables.py",
    ),
    Fault(
        "checksum of a checkpoint not looked at",
        "models/weights/formats/ckpt.py",
        "if zlib.crc32(data) != expected:",
        "if False:",
        "tests/modules/models/weights/test_read_ckpt.py",
    ),
    # ---- Losses
    Fault(
        "label smoothing ignored",
        "loss/common.py",
        "    if smoothing == 0:\n        return labels\n",
        "    return labels\n",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "smoothing that gives the wrong classes too much",
        "loss/common.py",
        "smoothing / labels.shape[1]",
        "smoothing / (labels.shape[1] - 1)",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "sum in the place of the mean",
        "loss/common.py",
        "return values.mean()",
        "return values.sum()",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "weights of classes dropped",
        "loss/cross_entropy_smooth.py",
        "weighted = weighted * self.weight",
        "weighted = weighted * 1",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "weights of classes not in the mean",
        "loss/cross_entropy_smooth.py",
        "return losses.sum() / (targets * self.weight).sum()",
        "return losses.mean()",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "auxiliary heads that weigh as the main one",
        "loss/common.py",
        "total + self.aux_factor * self.loss(",
        "total + self.loss(",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "divergence of splits not in the loss",
        "loss/jsd.py",
        "return clean + self.alpha * reduce_loss(divergence, self.reduction)",
        "return clean + 0 * reduce_loss(divergence, self.reduction)",
        "tests/modules/loss/test_losses.py",
    ),
    Fault(
        "focus on positives and negatives exchanged",
        "loss/asymmetric.py",
        "targets * _focus(1 - yes, self.gamma_pos) + (1 - targets) * _focus(yes, self.gamma_neg)",
        "targets * _focus(1 - yes, self.gamma_neg) + (1 - targets) * _focus(yes, self.gamma_pos)",
        "tests/modules/loss/test_losses.py",
    ),
    # ---- Optimizers
    Fault(
        "bias correction dropped",
        "optim/adamw.py",
        "correction = root / bias_correction(self.log_beta1, step)",
        "correction = root",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "weight decay coupled to the corrected rate",
        "optim/adamw.py",
        "decays = tuple([each / correction for each in self.decays])",
        "decays = self.decays",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "betas exchanged",
        "optim/lion.py",
        "ops.partial(_update, self.beta1, self.beta2)",
        "ops.partial(_update, self.beta2, self.beta1)",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "no trust in the norm of a parameter",
        "optim/lamb.py",
        "length / direction_length, ops.ones_like(length))",
        "ops.ones_like(length), ops.ones_like(length))",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "momentum that does not look ahead",
        "optim/nadam.py",
        "next_mu = self.momentum(step + 1)",
        "next_mu = mu",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "averages that start at zero",
        "optim/rmsprop.py",
        'prefix="mean_square", init="ones"',
        'prefix="mean_square", init="zeros"',
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    Fault(
        "norms and biases decay",
        "optim/param_groups.py",
        'return name.rpartition(".")[2] not in NORM_AND_BIAS\n',
        "return True\n",
        "tests/modules/optim/test_param_groups.py",
    ),
    Fault(
        "the head's rate is the least",
        "optim/param_groups.py",
        "layer_decay ** (last - layer_ids[name])",
        "layer_decay ** layer_ids[name]",
        "tests/modules/optim/test_param_groups.py",
    ),
    Fault(
        "groups' decay times the loss scale",
        "optim/steps.py",
        "decay / optimizer.loss_scale for decay",
        "decay * 1.0 for decay",
        "tests/modules/optim/test_optimizers.py -k five_steps",
    ),
    # ---- Schedules
    Fault(
        "schedules one step ahead",
        "scheduler/dynamic_lr.py",
        "return (step / steps_per_epoch for step",
        "return ((step + 1) / steps_per_epoch for step",
        "tests/modules/scheduler",
    ),
    Fault(
        "warm-up one epoch short",
        "scheduler/scheduler_factory.py",
        "lr=curve.start, steps_per_epoch=steps_per_epoch, epochs=warmup_epochs\n",
        "lr=curve.start, steps_per_epoch=steps_per_epoch, epochs=warmup_epochs - 1\n",
        "tests/modules/scheduler",
    ),
    Fault(
        "cycles as high as the first",
        "scheduler/dynamic_lr.py",
        "eta_max * cycle_decay**cycle",
        "eta_max",
        "tests/modules/scheduler",
    ),
    Fault(
        "rates below the least",
        "scheduler/registry.py",
        "return [max(rate, self.min_lr) for rate in rates]",
        "return rates",
        "tests/modules/scheduler",
    ),
    # ---- The training step
    Fault(
        "accumulated gradients not averaged",
        "training/step.py",
        "    return accumulated / count\n",
        "    return accumulated * 1\n",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "accumulated gradients kept after an update",
        "training/step.py",
        "            self.hyper_map(_clear, self.accumulated)\n",
        "",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "frozen batch norms that follow the batches",
        "training/step.py",
        "            part.set_train(False)\n",
        "            part.set_train(mode)\n",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "clipping before the gradients are unscaled",
        "training/step.py",
        "        loss = loss / self.grad_scaler.value\n",
        '        if self.clip_mode == "norm":\n'
        "            gradients = ops.clip_by_global_norm(gradients, self.clip_value)\n"
        "        loss = loss / self.grad_scaler.value\n",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "updates that overflowed are made",
        "training/step.py",
        "        if is_finite:\n            self.collect(gradients)\n",
        "        self.collect(gradients)\n",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "loss scale that never falls",
        "training/grad_scaler.py",
        "self.value / 2",
        "self.value",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "averages without their ramp",
        "training/ema.py",
        "self.decay * (1 - ops.exp(-self.num_updates.astype(mstype.float32) / RAMP))",
        "self.decay * (1 - 0 * ops.exp(-self.num_updates.astype(mstype.float32) / RAMP))",
        f"{_STEP_TESTS} -k pynative",
    ),
    Fault(
        "norms in half precision",
        "training/amp.py",
        '(*unable, *_NORMS) if amp_level == "O2" else unable',
        "unable",
        "tests/modules/training tests/modules/utils/test_mindcv_names.py -k 'half or amp or precision or O2'",
    ),
    Fault(
        "variance of the ranks' own means only",
        "training/sync_batch_norm.py",
        "variance + (mean - mean_of_all).square()",
        "variance",
        "tests/modules/training/test_sync_batch_norm.py -k pynative",
    ),
    # ---- Data
    Fault(
        "classes from Z to A",
        "data/image_folder.py",
        "return sorted(entry.name for entry in entries if not storage.leads_nowhere(entry) and entry.is_dir())",
        "return sorted((entry.name for entry in entries if entry.is_dir()), reverse=True)",
        "tests/modules/data/test_dataset_factory.py",
    ),
    Fault(
        "classes counted from the last",
        "data/image_folder.py",
        "label_of = {name: label for label, name in enumerate(order)}",
        "label_of = {name: label for label, name in enumerate(reversed(order))}",
        "tests/modules/data/test_dataset_factory.py",
    ),
    Fault(
        "mean and deviation exchanged",
        "data/transforms_factory.py",
        "vision.Normalize(list(mean), list(std), is_hwc=False)",
        "vision.Normalize(list(std), list(mean), is_hwc=False)",
        "tests/modules/data/test_transforms.py",
    ),
    Fault(
        "channels not moved to the front before they are normalised",
        "data/batch_finish.py",
        "np.divide(normalised, self.std, out=normalised)",
        "np.divide(normalised, self.std[::-1], out=normalised)",
        "tests/modules/data/test_batch_finish.py",
    ),
    Fault(
        "erasing a batch draws the numbers of the first transform",
        "data/batch_finish.py",
        "make_generator(key, self.number)",
        "make_generator(key, 0)",
        "tests/modules/data/test_batch_finish.py -k erased",
    ),
    Fault(
        "an epoch's freed memory is kept",
        "runtime.py",
        "ctypes.CDLL(None).malloc_trim(0)",
        "ctypes.CDLL(None)",
        "tests/modules/test_runtime.py -k given_back",
    ),
    Fault(
        "share of the crop ignored",
        "data/transforms_factory.py",
        "math.floor(max(height, width) / crop_pct)",
        "math.floor(max(height, width))",
        "tests/modules/data/test_transforms.py",
    ),
    Fault(
        "every image is flipped",
        "data/transforms_factory.py",
        "vision.RandomHorizontalFlip(hflip)",
        "vision.RandomHorizontalFlip(1.0)",
        "tests/modules/data/test_transforms.py -k flip",
    ),
    Fault(
        "labels not mixed with the images",
        "data/mixup.py",
        "return (own * lam + own[::-1] * (1.0 - lam)).astype(np.float32)",
        "return own.astype(np.float32)",
        "tests/modules/data/test_mixup.py",
    ),
    Fault(
        "labels mixed by the share that was drawn, not by the box",
        "data/mixup.py",
        "    if correct_lam or ratio_minmax is not None:\n",
        "    if ratio_minmax is not None:\n",
        "tests/modules/data/test_mixup.py",
    ),
    Fault(
        "mixing in evaluation",
        "data/loader.py",
        "mixes = is_training and (mixup > 0 or cutmix > 0)",
        "mixes = mixup > 0 or cutmix > 0",
        _LOADER_TESTS,
    ),
    Fault(
        "erased boxes twice as large as said",
        "data/random_erasing.py",
        "area = rng.uniform(*self.scale) * height * width",
        "area = 2 * rng.uniform(*self.scale) * height * width",
        "tests/modules/data/test_transforms.py -k eras",
    ),
    Fault(
        "all ranks draw the same augmentation",
        "data/sample_source.py",
        "own = (seed if drawing is None else drawing) + shard_id",
        "own = seed if drawing is None else drawing",
        _LOADER_TESTS,
    ),
    Fault(
        "every epoch in the same order",
        "data/distributed_sampler.py",
        "np.random.default_rng([seed, epoch])",
        "np.random.default_rng([seed])",
        "tests/modules/data/test_distributed_sampler.py",
    ),
    Fault(
        "a rank that skips a batch",
        "data/distributed_sampler.py",
        "rounds = -(-len(order) // num_shards)",
        "rounds = len(order) // num_shards",
        "tests/modules/data/test_distributed_sampler.py",
    ),
    Fault(
        "repeats of an image are other images",
        "data/distributed_sampler.py",
        "return base[slots // self.num_repeats],",
        "return base[slots % self.dataset_size],",
        "tests/modules/data/test_dataset_factory.py -k repeat",
    ),
    Fault(
        "images turned that are not to be",
        "data/eight_bits.py",
        "    image = _orient(image, exif)\n",
        "    image = _orient(image, True)\n",
        "tests/modules/data/test_eight_bits.py",
    ),
    Fault(
        "stronger levels of augmentation that are weaker",
        "data/auto_augment.py",
        'return [name + "Increasing" if name in _GROWING else name for name in names]',
        "return list(names)",
        "tests/modules/data/test_auto_augment.py",
    ),
    # ---- Several processes
    Fault(
        "sums over ranks not divided",
        "distributed/all_reduce.py",
        "    return total / size\n",
        "    return total * 1\n",
        "tests/modules/distributed/test_all_reduce.py -k pynative",
    ),
    Fault(
        "weights of rank 0 not given to the others",
        "distributed/process_group.py",
        "parameter.set_data(Tensor(value.copy()))",
        "parameter.set_data(Tensor(own.copy()))",
        "tests/modules/distributed/test_process_group.py",
    ),
    Fault(
        "every rank of a machine is its first",
        "distributed/launchers.py",
        '        _number(environ, "SLURM_PROCID"),\n',
        '        _number(environ, "SLURM_LOCALID"),\n',
        "tests/modules/distributed/test_launchers.py",
    ),
    Fault(
        "every rank takes the images of the first of its machine",
        "engine/setup.py",
        "        shard_id=topology.rank,\n",
        "        shard_id=topology.local_rank,\n",
        "tests/modules/engine/test_setup.py",
    ),
    # ---- What a run writes
    Fault(
        "a state without the optimizer's",
        "engine/resume.py",
        "for name, parameter in step.parameters_dict().items() if not is_setting(name)}",
        "for name, parameter in step.network.parameters_dict().items() if not is_setting(name)}",
        "tests/modules/engine/test_resume_rules.py",
    ),
    Fault(
        "damaged states taken for whole",
        "runs/state.py",
        'if _checksum(arrays, metadata["position"]) != metadata["sha256"]:',
        "if False:",
        "tests/modules/runs tests/tasks/test_resume.py -k 'damage or state'",
    ),
    Fault(
        "the best checkpoints are the worst",
        "runs/checkpoints.py",
        "scores.index(min(scores))",
        "scores.index(max(scores))",
        "tests/modules/runs/test_checkpoints.py",
    ),
    Fault(
        "old checkpoints stay",
        "runs/checkpoints.py",
        "(self.folder / name).unlink(missing_ok=True)",
        "pass",
        "tests/modules/runs/test_checkpoints.py",
    ),
    Fault(
        "top-5 counted as top-1",
        "runs/metrics.py",
        "self.correct5 += int((ranks < 5).sum())",
        "self.correct5 += int((ranks < 1).sum())",
        "tests/modules/report/test_results.py",
    ),
    Fault(
        "an image that ties counts as right",
        "runs/metrics.py",
        "(~(logits < own[:, None])).sum(1) - 1",
        "(logits > own[:, None]).sum(1)",
        "tests/modules/report/test_results.py",
    ),
    Fault(
        "a run's files from before lost",
        "runs/earlier_run.py",
        "os.replace(path, target / path.name)",
        "os.remove(path)",
        "tests/modules/runs/test_earlier_run.py",
    ),
    # ---- Commands
    Fault(
        "the checkpoint called best is the worst",
        "engine/train.py",
        "metrics.top1 > position.best_top1",
        "metrics.top1 < position.best_top1",
        "tests/tasks/test_training.py -k best_stays",
    ),
    Fault(
        "resuming begins an epoch late",
        "engine/resume.py",
        '        position = Position(**self.content["position"])\n',
        '        position = Position(**self.content["position"])\n        position.epoch += 1\n',
        "tests/modules/engine/test_resume_rules.py",
    ),
    Fault(
        "another recipe goes on with a run",
        "engine/resume.py",
        "if key in FREE_KEYS or now[key] == value:",
        "if True:",
        "tests/modules/engine/test_resume_rules.py",
    ),
    Fault(
        "validation with the transforms of training",
        "engine/setup.py",
        "        recipe.loader.batch_size,\n        transform=make_transforms(recipe, is_training=False),",
        "        recipe.loader.batch_size,\n        transform=make_transforms(recipe, is_training=True),",
        "tests/tasks/test_infer.py -k validation",
    ),
    Fault(
        "the last batch of a validation dropped",
        "engine/setup.py",
        "        recipe.loader.batch_size,\n        transform=make_transforms(recipe, is_training=False),",
        "        recipe.loader.batch_size, True,\n        transform=make_transforms(recipe, is_training=False),",
        "tests/modules/engine/test_setup.py tests/modules/engine/test_loaded_images.py",
    ),
    Fault(
        "averages of a run not validated",
        "engine/setup.py",
        'options["ema"] = recipe.step.ema',
        'options["ema"] = False',
        "tests/tasks/test_training.py -k averages",
    ),
    Fault(
        "metrics of rank 0 alone",
        "engine/validate.py",
        "count_skipped(loader)).tobytes()):",
        "count_skipped(loader)).tobytes())[:1]:",
        "tests/modules/engine/test_evaluation.py",
    ),
    Fault(
        "class names of the folders before those of the checkpoint",
        "engine/labels.py",
        "    elif inside is not None:\n",
        "    elif False:\n",
        "tests/modules/engine/test_labels.py",
    ),
    Fault(
        "a file that computes something else is written",
        "engine/export.py",
        "if not far <= TOLERANCE:",
        "if False:",
        "tests/modules/engine/test_exporting.py",
    ),
    Fault(
        "rates that do not grow with the ranks",
        "engine/setup.py",
        "recipe.loader.batch_size * num_ranks * options.gradient_accumulation_steps",
        "recipe.loader.batch_size * options.gradient_accumulation_steps",
        "tests/modules/engine/test_setup_step.py",
    ),
    # ---- Recipes and flags
    Fault(
        "the recipe's value over the flag's",
        "config/parse.py",
        "_assemble({**from_file, **from_flags})",
        "_assemble({**from_flags, **from_file})",
        "tests/modules/test_config.py -k 'flags or yaml'",
    ),
    Fault(
        "the base's value over the recipe's",
        "config/parse.py",
        "return {**read_recipe(_find_recipe(path.parent / base, Path(base)), (*above, path.resolve())), **values}",
        "return {**values, **read_recipe(_find_recipe(path.parent / base, Path(base)), (*above, path.resolve()))}",
        "tests/modules/test_config.py -k 'flags or yaml'",
    ),
    Fault(
        "no is yes",
        "config/types.py",
        '"off", "0"), False)',
        '"off", "0"), True)',
        "tests/modules/test_config.py -k 'flags or yaml'",
    ),
    # ---- Files for other runtimes
    Fault(
        "softmax over queries in ONNX",
        "deploy/onnx_cells.py",
        'graph.node("Softmax", logits, axis=-1)',
        'graph.node("Softmax", logits, axis=-2)',
        "tests/modules/deploy/test_onnx_cells.py -k halo_attention",
    ),
    Fault(
        "maps cropped at the other end in ONNX",
        "deploy/onnx_cells.py",
        "starts, ends, axes = graph.integers(0, 0), graph.integers(height, width), graph.integers(2, 3)",
        "starts, ends, axes = graph.integers(1, 1), graph.integers(height + 1, width + 1), graph.integers(2, 3)",
        "tests/modules/deploy/test_onnx_cells.py -k halo_attention",
    ),
    Fault(
        "no normalisation in the facts of a file",
        "engine/export.py",
        '        "mean": options["mean"],\n',
        "",
        "tests/modules/engine/test_exporting.py",
    ),
    Fault(
        "facts not written into a file",
        "deploy/onnx_file.py",
        "helper.set_model_props(model, dict(metadata))",
        "helper.set_model_props(model, {})",
        "tests/modules/deploy/test_metadata.py",
    ),
    # ---- Native kernels, those in C++ last
    Fault(
        "a changed network is accelerated",
        "native/accelerate.py",
        "    changes = find_changes(network)\n",
        "    changes = []\n",
        "tests/modules/native/test_changed_networks.py -k precision",
    ),
    Fault(
        "a network changed after it was accelerated",
        "native/guarded.py",
        'if name in guard.fixed or name == "construct":',
        'if name == "construct":',
        "tests/modules/native/test_changed_networks.py -k afterwards",
    ),
    Fault(
        "shortcut forgotten in a native block",
        "native/layers.py",
        "self.expand.adds = self.has_shortcut",
        "self.expand.adds = False",
        "tests/modules/native/test_accelerate.py -k 'maps or features'",
    ),
    Fault(
        "frozen norms with the statistics of the batch",
        "native/layers.py",
        "        if not by_batch:\n",
        "        if False:\n",
        "tests/modules/native/test_changed_networks.py -k states",
    ),
    # ---- Serving
    Fault(
        "uploads of any size",
        "serving/app.py",
        "            if len(data) > self.limits.max_bytes:\n",
        "            if False:\n",
        "tests/tasks/test_serve.py -k limited",
    ),
    Fault(
        "images of any size decoded",
        "serving/upload.py",
        "if num_pixels > limits.max_pixels:",
        "if num_pixels > 4 * limits.max_pixels:",
        "tests/modules/serving/test_upload.py",
    ),
    Fault(
        "any number of requests wait",
        "serving/worker.py",
        "threading.BoundedSemaphore(limits.max_waiting)",
        "threading.BoundedSemaphore(10**6)",
        "tests/modules/serving/test_worker.py",
    ),
    # ---- Reports
    Fault(
        "confusions transposed",
        "report/results.py",
        "results.labels.astype(np.int64) * num_classes + results.predictions",
        "results.predictions.astype(np.int64) * num_classes + results.labels",
        "tests/modules/report/test_results.py",
    ),
    Fault(
        "mistakes with the lowest loss first",
        "report/results.py",
        "np.argsort(-np.nan_to_num(",
        "np.argsort(np.nan_to_num(",
        "tests/modules/report",
    ),
    # ---- Files
    Fault(
        "checksum of a download not looked at",
        "files/download.py",
        "if not found.startswith(expected):",
        "if False:",
        "tests/modules/files/test_download.py -k 'wrong or checksum or leftover'",
    ),
    Fault(
        "files written in place",
        "files/whole_file.py",
        "    yield unfinished\n",
        "    yield path\n    return\n",
        "tests/modules/files",
    ),
    Fault(
        "archives that write elsewhere",
        "files/archives.py",
        'if path.is_absolute() or ".." in path.parts:',
        "if path.is_absolute():",
        "tests/modules/data/test_dataset_download.py tests/modules/utils/test_mindcv_names.py -k archive",
    ),
    # ---- What MindCV's users import, and the modules beside the rooms
    Fault(
        "large whole numbers summed wrongly over ranks",
        "utils/reduce_manager.py",
        "high.astype(mstype.int32) * _DIGITS + low",
        "high.astype(mstype.int32) + low",
        "tests/modules/utils/test_mindcv_names.py -k sums",
    ),
    Fault(
        "MindCV's top_k keeps the first",
        "utils/checkpoint_manager.py",
        "key=lambda entry: -entry[1])",
        "key=lambda entry: 0)",
        "tests/modules/utils/test_mindcv_names.py -k manager",
    ),
    Fault(
        "all ranks have one seed",
        "runtime.py",
        "np.random.seed(seed + rank)",
        "np.random.seed(seed)",
        "tests/modules/utils/test_mindcv_names.py -k seed",
    ),
    Fault(
        "settings without effect not said",
        "idle_settings.py",
        "if why and value != default]",
        "if why and value != default and False]",
        "tests/modules/test_idle_settings.py",
    ),
    Fault(
        "an archive's member whose checksum nobody looks at",
        "data/archive.py",
        "if self._checksums[number] not in (_NO_CHECKSUM, zlib.crc32(data)):",
        "if not data:",
        "tests/modules/data/test_archive.py",
    ),
    Fault(
        "a file of a zip that begins where its extra field does",
        "data/archive.py",
        "_LOCAL_HEADER.size + sum(lengths)",
        "_LOCAL_HEADER.size + lengths[0]",
        "tests/modules/data/test_archive.py",
    ),
    Fault(
        "an archive's file that lies behind its end",
        "data/archive.py",
        "or file.start + file.packed > self._length:",
        "or file.start > self._length:",
        "tests/modules/data/test_archive.py",
    ),
    Fault(
        "the first of two files of a name in an archive",
        "data/archive.py",
        "        content[last] = number\n",
        "        content.setdefault(last, number)\n",
        "tests/modules/data/test_archive.py",
    ),
    Fault(
        "an archive as it was before it changed",
        "data/archive.py",
        "key = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)",
        "key = (path,)",
        "tests/modules/data/test_archive.py",
    ),
    Fault(
        "links that are all taken for ones to nothing",
        "data/storage.py",
        "return entry.is_symlink() and not os.path.exists(entry.path)",
        "return entry.is_symlink()",
        "tests/modules/data/test_folder_walk.py",
    ),
    Fault(
        "a list of images of a folder that changed meanwhile",
        "data/folder_index.py",
        "return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]",
        "return [status.st_ino, status.st_mtime_ns, status.st_mtime_ns]",
        "tests/modules/data/test_folder_index.py",
    ),
    Fault(
        "a damaged list of images",
        "data/folder_index.py",
        "if hashlib.sha256(content).hexdigest().encode() != digest:",
        "if not digest:",
        "tests/modules/data/test_folder_index.py",
    ),
    Fault(
        "a list of images while the folder still changes",
        "data/folder_index.py",
        "limit = (now - _SECONDS_AT_REST) * 1e9",
        "limit = (now + _SECONDS_AT_REST) * 1e9",
        "tests/modules/data/test_folder_index.py",
    ),
    Fault(
        "parts of an epoch that draw the same numbers",
        "data/epoch_parts.py",
        "seed_epoch(seed, epoch, shard_id, first // length)",
        "seed_epoch(seed, epoch, shard_id)",
        "tests/modules/data/test_epoch_parts.py",
    ),
    Fault(
        "an epoch that goes on with the parts it has behind it",
        "data/epoch_parts.py",
        "range(first_batch // length * length, size, length)",
        "range(0, size, length)",
        "tests/modules/data/test_epoch_parts.py",
    ),
    Fault(
        "queues of batches as long as those of images",
        "data/batch_queues.py",
        "BATCHES_AHEAD = 1",
        "BATCHES_AHEAD = 16",
        "tests/modules/data/test_batch_queues.py",
    ),
    Fault(
        "weights in the package of which another classifier is made",
        "models/model_factory.py",
        'basis["num_classes"] = complete_cfg(model_name)["num_classes"]',
        'basis["num_classes"] = 1000',
        "tests/modules/models/weights/test_packaged.py",
    ),
    # ---- Kernels in C++
    Fault(
        "native lambda layer of the neighbours on the other side",
        "native/src/lambda_layer.cpp",
        "(row - y + half) * s.reach - x + half;",
        "(y - row + half) * s.reach - x + half;",
        "tests/modules/native/test_attentions.py -k gradients",
    ),
    Fault(
        "native lambda layer without its positions' bias",
        "native/src/lambda_layer.hpp",
        "mixed[d * LANES + i] + bias[first + i]",
        "mixed[d * LANES + i]",
        "tests/modules/native/test_attentions.py -k gradients",
    ),
    Fault(
        "native gradients of keys without the scale",
        "native/src/halo_attention_backward.cpp",
        "target[d] += scale * key[d];",
        "target[d] += key[d];",
        f"{_ATTENTION_TESTS} -k 'native and gradients'",
    ),
    Fault(
        "native position logits of another row",
        "native/src/halo_logits.hpp",
        "(keys_ - 1 - coordinate) * g.dim_key",
        "(keys_ - g.query.height + coordinate) * g.dim_key",
        f"{_ATTENTION_TESTS} -k 'native and loops'",
    ),
    Fault(
        "last column of windows skipped in the native pool",
        "native/src/max_pool.cpp",
        "column < std::min(width, 2 * x + 2)",
        "column < std::min(width, 2 * x + 1)",
        "tests/modules/native/test_operators.py -k pool",
    ),
    Fault(
        "native max pool of windows without their last row",
        "native/src/max_pool.cpp",
        "2 * y + 1 < height ? middle + length : middle",
        "2 * y + 1 < height ? middle : middle",
        "tests/modules/native/test_operators.py -k pool",
    ),
    Fault(
        "1x1 convolutions of bfloat16 that write one strip of pixels over another",
        "native/src/pointwise_bfloat16.cpp",
        "finish(sums_.data(), top + row, height, block * COLUMNS);",
        "finish(sums_.data(), top, height, block * COLUMNS);",
        f"{_BFLOAT16_TESTS} -k pointwise",
    ),
    Fault(
        "grouped convolutions that read a row above the one asked for",
        "native/src/grouped_convolution.cpp",
        "rows_[row] = find_line(top + row);",
        "rows_[row] = find_line(top + row + shape_.kernel - 1);",
        "tests/modules/native/test_operators.py -k convolution",
    ),
    Fault(
        "grouped convolutions whose last pixels of a row are lost",
        "native/src/grouped_convolution.cpp",
        "if constexpr (pixels > 1) visit_pixels",
        "if constexpr (pixels > 4) visit_pixels",
        "tests/modules/native/test_operators.py -k convolution",
    ),
    Fault(
        "bfloat16: grouped convolutions whose pairs of channels are swapped",
        "native/src/grouped_convolution.cpp",
        "uint32_t(bfloat16(both[0]).bits) | uint32_t(bfloat16(both[taps]).bits) << 16",
        "uint32_t(bfloat16(both[taps]).bits) | uint32_t(bfloat16(both[0]).bits) << 16",
        f"{_BFLOAT16_TESTS} -k grouped",
    ),
    Fault(
        "native running variance that is biased",
        "native/src/batch_norm.cpp",
        "rows > 1 ? variance * rows / (rows - 1) : variance",
        "variance",
        "tests/modules/native/test_operators.py -k batch_norm",
    ),
    Fault(
        "bfloat16: the lower row of a pair in the place of the upper one",
        "native/src/vector_bfloat16.hpp",
        "_mm512_cvtne2ps_pbh(second, first)",
        "_mm512_cvtne2ps_pbh(first, second)",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: position logits by another row",
        "native/src/halo_window_row.hpp",
        "g.window.height - 1 - limit(first + i) / g.query.width",
        "g.window.height - g.query.height + limit(first + i) / g.query.width",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: tables that are not rounded as in the forward pass, nor at all",
        "native/src/halo_attention_backward.cpp",
        "const Widened heights(args.floats(3), args.size(3)), widths(args.floats(4), args.size(4));",
        "const Widened heights(args.floats(4), args.size(3)), widths(args.floats(3), args.size(4));",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: gradients of keys without the scale",
        "native/src/halo_attention_backward_bfloat16.cpp",
        "_mm512_mul_ps(scale, _mm512_loadu_ps(sums + d))",
        "_mm512_loadu_ps(sums + d)",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: the slope of SiLU as if it were its gate",
        "native/src/batch_norm_rows.hpp",
        "_mm512_fmadd_ps(z, _mm512_sub_ps(one, gate), one)",
        "one",
        f"{_BFLOAT16_TESTS} -k operators",
    ),
    Fault(
        "bfloat16: a norm's sum left out where SiLU follows",
        "native/src/batch_norm_rows.hpp",
        "if constexpr (adds) return _mm512_add_ps(z, lanes.read(added + c));",
        "",
        f"{_BFLOAT16_TESTS} -k operators",
    ),
    Fault(
        "bfloat16: slopes of every second row left out of positions",
        "native/src/halo_attention_backward_bfloat16.cpp",
        "if (has_lower) heights.add(in_lower, by_height + (y + 1) * SIDE);",
        "",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: gradients of queries without positions",
        "native/src/halo_attention_backward_bfloat16.cpp",
        "_mm512_fmadd_ps(of_key, _mm512_load_ps(sums + i), position)",
        "_mm512_mul_ps(of_key, _mm512_load_ps(sums + i))",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: products of half as many numbers as there are",
        "native/src/halo_window_row.hpp",
        "numbers >= DEPTH ? SIDE : (numbers + 1) / 2",
        "numbers >= DEPTH ? SIDE : numbers / 4",
        f"{_BFLOAT16_TESTS} -k halo_attention",
    ),
    Fault(
        "bfloat16: 1x1 convolutions of stride 2 that read pixels next to each other",
        "native/src/pointwise_bfloat16.cpp",
        "y * shape_.stride) * shape_.width + x * shape_.stride)",
        "y * shape_.stride) * shape_.width + x)",
        f"{_BFLOAT16_TESTS} -k pointwise",
    ),
    Fault(
        "bfloat16: sums of the first channels alone",
        "native/src/pointwise_bfloat16.cpp",
        "weights + first * COLUMNS / 2, count, first > 0,",
        "weights + first * COLUMNS / 2, count, false,",
        f"{_BFLOAT16_TESTS} -k pointwise",
    ),
    Fault(
        "bfloat16: numbers cut off and not rounded",
        "native/src/element.hpp",
        "(whole + 0x7fff + ((whole >> 16) & 1)) >> 16",
        "whole >> 16",
        f"{_BFLOAT16_TESTS} -k rounds",
    ),
    Fault(
        "one of two gradients lost where a map forks",
        "native/src/add_maps.cpp",
        "Element(one[i] + other[i])",
        "Element(one[i])",
        "tests/modules/native/test_operators.py -k forks",
    ),
    Fault(
        "a sum in the place of a map that is still needed",
        "native/plan.py",
        "last_use[onto.number] == index",
        "last_use[onto.number] >= index",
        "tests/modules/native/test_plan.py -k needed",
    ),
    Fault(
        "weights read as they lay before others came",
        "native/direct_call.py",
        "found.operands is None or found.addresses != addresses",
        "found.operands is None",
        "tests/modules/native/test_direct_call.py -k anew",
    ),
    Fault(
        "weights whose place is not kept",
        "native/direct_call.py",
        "return cls(addresses, numbers, operands)",
        "return cls(addresses, [], operands)",
        "tests/modules/native/test_direct_call.py -k stay",
    ),
    Fault(
        "a frozen network that is missed where functions are traced",
        "native/direct_call.py",
        "_pynative_executor.requires_grad() or jit_context() is not None",
        "_pynative_executor.requires_grad()",
        "tests/modules/native/test_direct_call.py -k compiled",
    ),
    Fault(
        "images read as if they lay in order",
        "native/direct_call.py",
        "images = images.contiguous()",
        "images = images[:]",
        "tests/modules/native/test_direct_call.py -k otherwise",
    ),
    Fault(
        "a frozen network of which nothing is recorded",
        "native/whole_network.py",
        "isinstance(args[0], Tensor) and not is_recorded():",
        "isinstance(args[0], Tensor):",
        "tests/modules/native/test_direct_call.py -k recorded",
    ),
    Fault(
        "more queries than a block has pixels",
        "native/src/halo_blocks.hpp",
        " || query > block",
        "",
        "tests/modules/native/test_wrong_shapes.py -k more_queries",
    ),
    Fault(
        "two threads that share what a kernel is told",
        "native/direct_call.py",
        "operands = weights.operands.copy()",
        "operands = weights.operands",
        "tests/modules/native/test_direct_call.py -k threads",
    ),
    Fault(
        "precision that accelerate does not hand on",
        "native/accelerate.py",
        "cell.prepare(frozen, PRECISIONS[precision])",
        'cell.prepare(frozen, PRECISIONS["float32"])',
        f"{_BFLOAT16_TESTS} -k frozen_networks",
    ),
)
