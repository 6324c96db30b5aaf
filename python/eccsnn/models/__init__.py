"""Edge SNNs and cloud ANNs behind one interface.

All have `forward`, `forward_features`, `head`, `feature_maps` and `spec`; SNNs also have `init_state` and `step`.
"""

from eccsnn.models.base import FeatureMap, Features, Model, scale_channels
from eccsnn.models.registry import ModelInfo, build_model, list_models
from eccsnn.models.spiking import SpikingModel

__all__ = [
    "FeatureMap",
    "Features",
    "Model",
    "ModelInfo",
    "SpikingModel",
    "build_model",
    "list_models",
    "scale_channels",
]
