"""Training: losses, the resumable loop, evaluation and checkpoints."""

from eccsnn.training.checkpoint import load_checkpoint, load_model, load_weights, save_checkpoint, save_model
from eccsnn.training.classifier import train_classifier
from eccsnn.training.evaluate import predict_logits
from eccsnn.training.loop import FitOptions, FitResult, fit
from eccsnn.training.losses import FeatureDistillation, cross_entropy, logit_distillation
from eccsnn.training.split import split_loss, timestep_logits, timesteps_cross_entropy, train_cut

__all__ = [
    "FeatureDistillation",
    "FitOptions",
    "FitResult",
    "cross_entropy",
    "fit",
    "load_checkpoint",
    "load_model",
    "load_weights",
    "logit_distillation",
    "predict_logits",
    "save_checkpoint",
    "save_model",
    "split_loss",
    "timestep_logits",
    "timesteps_cross_entropy",
    "train_classifier",
    "train_cut",
]
