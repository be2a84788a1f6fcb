"""MindSpore's own optimizers that compute what they should, by the names of a recipe."""

from __future__ import annotations

from mindspore import nn

from .registry import register_optimizer

# nn.SGD for all three: the Nesterov form of nn.Momentum is wrong on a CPU, and the class is announced for removal.
register_optimizer("sgd", {"momentum": "momentum", "nesterov": "nesterov"})(nn.SGD)
register_optimizer("momentum", {"momentum": "momentum", "nesterov": "nesterov"})(nn.SGD)
register_optimizer("nesterov", {"momentum": "momentum"}, implied={"nesterov": True})(nn.SGD)
register_optimizer("adam", {"beta1": "beta1", "beta2": "beta2", "eps": "eps", "nesterov": "use_nesterov"})(nn.Adam)
register_optimizer("adagrad", {})(nn.Adagrad)
