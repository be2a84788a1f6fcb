"""The one place where the packages meet: train, validate, predict."""

from ..models.attention_maps import read_layer
from .convert import convert
from .explain import predict_and_explain
from .export import EXPORT_FORMATS, Exported, export
from .infer import Explanation, Prediction, Predictor, predict
from .prediction_text import FORMATS
from .train import TrainingResult, train
from .validate import evaluate, validate

__all__ = [
    "EXPORT_FORMATS",
    "FORMATS",
    "Explanation",
    "Exported",
    "Prediction",
    "Predictor",
    "TrainingResult",
    "convert",
    "evaluate",
    "export",
    "predict",
    "predict_and_explain",
    "read_layer",
    "train",
    "validate",
]
