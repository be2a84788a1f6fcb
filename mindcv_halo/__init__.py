"""HaloNet on MindSpore: models, data, training."""

from .runtime import prepare_environment

prepare_environment()  # before anything imports MindSpore

from . import data, loss, models, optim, scheduler  # noqa: E402
from .data import *  # noqa: E402, F403
from .engine import Prediction, Predictor  # noqa: E402
from .loss import *  # noqa: E402, F403
from .models import *  # noqa: E402, F403
from .models.halonet import *  # noqa: E402, F403  # for type checkers, which follow no list that is put together
from .native import accelerate  # noqa: E402
from .optim import *  # noqa: E402, F403
from .scheduler import *  # noqa: E402, F403
from .version import __version__  # noqa: E402

__all__ = ["Prediction", "Predictor", "__version__", "accelerate"]
for _package in (data, loss, models, optim, scheduler):
    __all__ += _package.__all__
