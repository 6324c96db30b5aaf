"""Counting multiply-accumulates of an ANN, and synaptic operations of an SNN on real data.

Both run the model once under a tracer that sees every tensor operation, so that functional calls (attention products,
folded layers) are counted as well as modules.

What is counted: convolutions (1-D to 3-D, transposed too), linear layers, matrix products (`mm`, `addmm`, `bmm`,
`baddbmm`, `einsum` through them) and scaled-dot-product attention. What is not: bias additions, normalisation,
activations, softmax, pooling, element-wise operations and the neurons' own updates (`neuron_steps` reports how many
there are). Recurrent layers, bilinear layers and FFTs are not understood; a report lists them in `uncounted`.

How a product is classified, by where its data come from:

* A tensor *is made of spikes* if it is a neuron's output or was computed from such tensors and numbers alone: reshapes,
  pooling, concatenations, SEW additions, a mean over time, products of spike matrices. A tensor that a weight, a
  normalisation or the input image went into is not, even if its values happen to be whole numbers.
* An operand of a product *counts as spikes* if it is made of spikes and all its values over all the data are whole and
  not negative. Each unit of value is then one accumulation along every connection it drives: a SEW sum of 2 counts
  twice.
* Otherwise the product is analog and counts as dense multiply-accumulates: the first layer on pixels, a layer behind
  average pooling, a head on the mean of the spikes over time.

For spikes, a convolution's fan-out is the one actually used: a spike at the border, or between the steps of a stride,
drives fewer positions than one inside. Dense counts keep the field's convention and include products with padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

_aten = torch.ops.aten
_NOT_UNDERSTOOD = (
    "_trilinear",
    "rnn",
    "lstm",
    "gru",
    "_fft",
    "_native_multi_head_attention",
    "_transformer_encoder_layer",
)


@dataclass(frozen=True)
class LayerOps:
    """Operations of one product for one image, averaged over the data.

    Attributes:
        name: the module in which it ran, ``model`` for the outermost; a second product in the same one gets ``#2``.
        kind: ``"convolution"``, ``"matmul"`` (linear layers too) or ``"attention"``.
        input: ``"spikes"`` or ``"analog"``.
        synops: accumulations (0 for analog input).
        macs: multiply-accumulates (0 for spikes).
        dense: multiply-accumulates of the same product on a dense device.
    """

    name: str
    kind: str
    input: str
    synops: float
    macs: float
    dense: float


@dataclass(frozen=True)
class SynopReport:
    """What `count_synops` measured.

    Attributes:
        layers: one entry for each product, in the order of execution.
        firing_rates: neuron layer -> mean output for a neuron and timestep.
        neuron_steps: neuron updates for one image (reported, not part of any energy here).
        images: how many images were measured.
        uncounted: operations that the counter does not understand; empty when the count is complete.
    """

    layers: tuple[LayerOps, ...]
    firing_rates: dict[str, float]
    neuron_steps: float
    images: int
    uncounted: tuple[str, ...] = ()

    @property
    def synops_per_image(self) -> float:
        """Synaptic operations (accumulates) for one image."""
        return sum(layer.synops for layer in self.layers)

    @property
    def macs_per_image(self) -> float:
        """Multiply-accumulates on analog input for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def dense_per_image(self) -> float:
        """Multiply-accumulates for one image on a device that does not use sparsity."""
        return sum(layer.dense for layer in self.layers)


def count_macs(model: nn.Module, input_shape: Sequence[int], input_dtype: torch.dtype | None = None) -> dict[str, int]:
    """Multiply-accumulates of a model for one sample, by layer (dense: products with padding are included).

    Args:
        model: any module that takes one tensor. It runs once, in eval mode, on zeros; its mode is restored.
        input_shape: shape of one sample without the batch dimension, for example ``(3, 32, 32)``.
        input_dtype: dtype of the input, such as ``torch.uint8`` for the bytes that a cloud part takes; None: that of
            the weights.

    Returns:
        layer name -> multiply-accumulates, in the order of execution; the sum is the model's total.

    Raises:
        ValueError: the shape is not a sequence of positive sizes.

    Warns:
        UserWarning: the model has operations that are not counted.

    Example:
        >>> count_macs(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16, 10)), (3, 4, 4))
        {'0': 3456, '2': 1280}
    """
    shape = tuple(input_shape)
    if not shape or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
        raise ValueError(f"input_shape is {shape}, expected the positive sizes of one sample, for example (3, 32, 32)")
    device, dtype = _device_and_dtype(model)
    tracer = _Tracer()
    with _prepared(model, tracer, neurons=()):
        tracer.run(model, torch.zeros((1, *shape), device=device, dtype=input_dtype or dtype))
    if tracer.uncounted:
        warnings.warn(f"not counted: {', '.join(sorted(tracer.uncounted))}", UserWarning, stacklevel=2)
    return {_label(key): round(product.dense) for key, product in tracer.products.items()}


def count_synops(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 64,
    spike_input: bool = False,
    neurons: tuple[type[nn.Module], ...] | None = None,
) -> SynopReport:
    """Measures the synaptic operations of a spiking model on data.

    Args:
        model: a spiking model. It runs in eval mode; its mode is restored.
        images: `[N, C, H, W]` static images or `[T, N, C, H, W]` event frames, as the model takes them. Time-folded
            layers see `[T * N, ...]` and a static first layer `[N, ...]`; every total is divided by N, so what is
            computed once counts once.
        batch_size: images run at a time.
        spike_input: the input itself is made of spikes (event frames). Pixels are analog, even if they are 0 or 1.
        neurons: classes whose outputs are spikes; `eccsnn.nn.LIF` when not given.

    Returns:
        operations for one image, averaged over the images, and firing rates.

    Raises:
        ValueError: no images, a wrong number of dimensions, or no neuron in the model.
    """
    if images.ndim not in (4, 5):
        raise ValueError(f"images have the shape {tuple(images.shape)}, expected [N, C, H, W] or [T, N, C, H, W]")
    batch_dim = images.ndim - 4
    count = images.shape[batch_dim]
    if count == 0 or images.numel() == 0:
        raise ValueError(f"images have the shape {tuple(images.shape)}, expected at least one image")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if neurons is None:
        # Imported here because counting MACs needs no neuron and no compiled operation.
        from eccsnn.nn import LIF

        neurons = (LIF,)
    if not any(isinstance(module, neurons) for module in model.modules()):
        names = ", ".join(neuron.__name__ for neuron in neurons)
        raise ValueError(f"the model {type(model).__name__} has no spiking neuron ({names}); use count_macs for an ANN")
    device, dtype = _device_and_dtype(model)
    tracer = _Tracer()
    with _prepared(model, tracer, neurons=neurons):
        for start in range(0, count, batch_size):
            part = images.narrow(batch_dim, start, min(batch_size, count - start)).to(device=device, dtype=dtype)
            tracer.run(model, part, spike_input=spike_input)
    layers = []
    for key, product in tracer.products.items():
        spikes = product.spikes
        layers.append(
            LayerOps(
                name=_label(key),
                kind=product.kind,
                input="spikes" if spikes else "analog",
                synops=product.accumulations / count if spikes else 0.0,
                macs=0.0 if spikes else product.dense / count,
                dense=product.dense / count,
            )
        )
    return SynopReport(
        layers=tuple(layers),
        firing_rates={name: total / numel for name, (total, numel) in tracer.rates.items() if numel},
        neuron_steps=sum(numel for _, numel in tracer.rates.values()) / count,
        images=count,
        uncounted=tuple(sorted(tracer.uncounted)),
    )


@dataclass
class _Product:
    kind: str
    dense: float = 0.0
    accumulations: float = 0.0
    spikes: bool = True  # until one operand on any data says otherwise


@dataclass(eq=False)
class _Tracer(TorchDispatchMode):
    """Follows which tensors are made of spikes, and counts the products."""

    products: dict[tuple[str, int], _Product] = field(default_factory=dict)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)
    uncounted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._calls: dict[str, int] = {}
        self._made_of_spikes = WeakTensorKeyDictionary()

    def run(self, model: nn.Module, images: Tensor, *, spike_input: bool = False) -> None:
        self._calls.clear()
        if spike_input:
            self.mark(images)
        with torch.no_grad(), self:
            model(images)

    def mark(self, tensor: Tensor) -> None:
        self._made_of_spikes[tensor] = True

    def observe_neuron(self, name: str, spikes: Tensor) -> None:
        self.mark(spikes)
        total, numel = self.rates.get(name, (0.0, 0))
        self.rates[name] = (total + float(spikes.sum(dtype=torch.float64)), numel + spikes.numel())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        packet = func.overloadpacket
        name = packet.__name__
        handler = _HANDLERS.get(packet)
        if handler is not None:
            handler(self, args, out)
        elif name.startswith("_scaled_dot_product") and "backward" not in name:
            _count_attention(self, args, out)
        elif any(part in name for part in _NOT_UNDERSTOOD):
            self.uncounted.add(name)
        pure = bool(inputs) and all(tensor in self._made_of_spikes for tensor in inputs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                if pure:
                    self.mark(leaf)
                else:
                    # An operation in place may have mixed something else into a tensor that was spikes before.
                    self._made_of_spikes.pop(leaf, None)
        return out

    def is_spikes(self, tensor: Tensor) -> bool:
        if tensor not in self._made_of_spikes:
            return False
        if not tensor.is_floating_point():
            return bool((tensor >= 0).all())
        return bool(((tensor >= 0) & (tensor == tensor.floor())).all())

    def record(self, kind: str, dense: float, accumulations: float | None) -> None:
        """Adds a product of the module that runs now; `accumulations` is None if no operand is spikes."""
        name = (self.names[-1] if self.names else "") or "model"
        call = self._calls[name] = self._calls.get(name, 0) + 1
        product = self.products.setdefault((name, call), _Product(kind))
        product.dense += dense
        if accumulations is None:
            product.spikes = False
        else:
            product.accumulations += accumulations


def _count_convolution(tracer: _Tracer, args: Any, out: Tensor) -> None:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    dense = float((x.numel() if transposed else out.numel()) * weight[0].numel())
    if not tracer.is_spikes(x):
        tracer.record("convolution", dense, None)
        return
    # A spike reaches out_channels / groups channels at every output position whose window covers it; windows are
    # products of intervals, so the number of positions is a product over the dimensions.
    per_position = x.sum(dim=(0, 1), dtype=torch.float64)
    for axis in range(x.ndim - 2):
        pick = [p[axis] if len(p) > 1 else p[0] for p in (stride, padding, dilation)]
        reach = _fan_out(x.shape[2 + axis], weight.shape[2 + axis], out.shape[2 + axis], *pick, transposed=transposed)
        shape = [1] * (x.ndim - 2)
        shape[axis] = -1
        per_position = per_position * torch.tensor(reach, dtype=torch.float64, device=x.device).reshape(shape)
    channels = out.shape[1] // groups
    tracer.record("convolution", dense, float(per_position.sum()) * channels)


def _fan_out(
    size: int, kernel: int, out_size: int, stride: int, padding: int, dilation: int, *, transposed: bool
) -> list[int]:
    """For each input index along one axis, how many (output index, kernel index) pairs it takes part in."""
    if transposed:
        return [sum(0 <= i * stride - padding + k * dilation < out_size for k in range(kernel)) for i in range(size)]
    reach = [0] * size
    for o in range(out_size):
        for k in range(kernel):
            i = o * stride - padding + k * dilation
            if 0 <= i < size:
                reach[i] += 1
    return reach


def _count_matmul(tracer: _Tracer, a: Tensor, b: Tensor) -> None:
    """Counts a [..., n, d] times b [..., d, m]."""
    dense = float(a.numel() * b.shape[-1])
    a_spikes, b_spikes = tracer.is_spikes(a), tracer.is_spikes(b)
    accumulations: float | None = None
    if a_spikes and b_spikes:
        # Only pairs of spikes meet: the sum over k of (column k of a) * (row k of b).
        accumulations = float((a.sum(-2, dtype=torch.float64) * b.sum(-1, dtype=torch.float64)).sum())
    elif a_spikes:
        accumulations = float(a.sum(dtype=torch.float64)) * b.shape[-1]
    elif b_spikes:
        accumulations = float(b.sum(dtype=torch.float64)) * a.shape[-2]
    tracer.record("matmul", dense, accumulations)


def _count_attention(tracer: _Tracer, args: Any, out: Any) -> None:
    # Softmax lies between the two products, so they are analog even on spiking queries, keys and values.
    query, key, value = args[:3]
    keys = key.shape[-2]
    dense = query.numel() * keys + query.numel() // query.shape[-1] * keys * value.shape[-1]
    tracer.record("attention", float(dense), None)


_HANDLERS: dict[Any, Callable[[_Tracer, Any, Any], None]] = {
    _aten.convolution: _count_convolution,
    _aten.mm: lambda tracer, args, out: _count_matmul(tracer, args[0], args[1]),
    _aten.bmm: lambda tracer, args, out: _count_matmul(tracer, args[0], args[1]),
    _aten.addmm: lambda tracer, args, out: _count_matmul(tracer, args[1], args[2]),
    _aten.baddbmm: lambda tracer, args, out: _count_matmul(tracer, args[1], args[2]),
    _aten.mv: lambda tracer, args, out: _count_matmul(tracer, args[0], args[1][:, None]),
    _aten.dot: lambda tracer, args, out: _count_matmul(tracer, args[0][None, :], args[1][:, None]),
}


@contextmanager
def _prepared(model: nn.Module, tracer: _Tracer, *, neurons: tuple[type[nn.Module], ...]) -> Iterator[None]:
    """Eval mode, and hooks that tell the tracer which module runs and which tensors are spikes; restored after."""

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: tracer.names.append(name)

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        tracer.names.pop()

    def observe(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            tracer.observe_neuron(name, out[0] if isinstance(out, (tuple, list)) else out)

        return hook

    modes = {module: module.training for module in model.modules()}
    # The fused path of nn.MultiheadAttention hides its products.
    fastpath = torch.backends.mha.get_fastpath_enabled()
    handles = []
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave, always_call=True))
            if neurons and isinstance(module, neurons):
                handles.append(module.register_forward_hook(observe(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
        torch.backends.mha.set_fastpath_enabled(fastpath)


def _device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def _label(key: tuple[str, int]) -> str:
    name, call = key
    return f"{name}#{call}" if call > 1 else name
