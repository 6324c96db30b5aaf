"""Edge SNNs and cloud ANNs behind one interface.

All have `forward`, `forward_features`, `head`, `feature_maps`, `split_points` and `spec`; SNNs also have `init_state`,
`step` and `forward_timesteps`. `split` cuts a model in two.
"""

from eccsnn.models.base import FeatureMap, Features, Model, SplitPoint, check_finite, scale_channels
from eccsnn.models.registry import ModelInfo, build_model, insert_bottlenecks, list_models
from eccsnn.models.spiking import SpikingModel
from eccsnn.models.split import ANNCloudPart, ANNEdgePart, CloudPart, EdgePart, split

__all__ = [
    "ANNCloudPart",
    "ANNEdgePart",
    "CloudPart",
    "EdgePart",
    "FeatureMap",
    "Features",
    "Model",
    "ModelInfo",
    "SpikingModel",
    "SplitPoint",
    "build_model",
    "check_finite",
    "insert_bottlenecks",
    "list_models",
    "scale_channels",
    "split",
]
