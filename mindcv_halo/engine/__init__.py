"""The one place where the packages meet: train, validate, predict."""

from .evaluation import evaluate, validate
from .inference import Prediction, predict
from .training import TrainingResult, train

__all__ = ["Prediction", "TrainingResult", "evaluate", "predict", "train", "validate"]
