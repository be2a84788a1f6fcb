"""The one place where the packages meet: train, validate, predict."""

from ..models.attention_maps import read_layer
from .converting import convert
from .evaluation import evaluate, validate
from .explaining import predict_and_explain
from .exporting import EXPORT_FORMATS, Exported, export
from .inference import Explanation, Prediction, Predictor, predict
from .prediction_text import FORMATS
from .training import TrainingResult, train

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
