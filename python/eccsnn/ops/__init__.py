"""Fused ops on tensors, with CPU and CUDA kernels; `eccsnn.ops.reference` says the same in plain torch.

Importing this loads the compiled op libraries (`eccsnn._ops_cpu`, and `eccsnn._ops_cuda` where torch has CUDA).
"""

from eccsnn.ops import _library

_library.load()

from eccsnn.ops.event_slices import (  # noqa: E402
    slice_by_count,
    slice_by_number,
    slice_by_time,
    slice_by_window,
)
from eccsnn.ops.events import (  # noqa: E402
    events_to_frames,
    events_to_packed_frames,
    events_to_time_surfaces,
    events_to_voxel_grid,
)
from eccsnn.ops.feature_distillation import spike_count_pool  # noqa: E402
from eccsnn.ops.lif import lif, lif_of_packed, lif_packed  # noqa: E402
from eccsnn.ops.logit_distillation import logit_distillation  # noqa: E402
from eccsnn.ops.norm_lif import batch_norm_lif, channel_statistics  # noqa: E402
from eccsnn.ops.spike_layers import spike_conv2d, spike_linear, spike_max_pool2d  # noqa: E402
from eccsnn.ops.spikes import pack_spikes, unpack_spikes  # noqa: E402

__all__ = [
    "batch_norm_lif",
    "channel_statistics",
    "events_to_frames",
    "events_to_packed_frames",
    "events_to_time_surfaces",
    "events_to_voxel_grid",
    "lif",
    "lif_of_packed",
    "lif_packed",
    "logit_distillation",
    "pack_spikes",
    "slice_by_count",
    "slice_by_number",
    "slice_by_time",
    "slice_by_window",
    "spike_conv2d",
    "spike_count_pool",
    "spike_linear",
    "spike_max_pool2d",
    "unpack_spikes",
]
