"""Convolution, linear map and max pooling of binary spikes for training: torch's own, but autograd keeps bits.

Outputs and gradients are those of `torch.nn.functional`, from the same calls. What waits for the backward pass is one
bit a spike in place of the dense input: 32 times less for float32, 16 times less for 16-bit types. The dense input can
then be freed as soon as nobody else holds it.

Where no gradient is asked for, these are the plain functions and nothing is packed or checked; where the weight needs
none, the input is not kept at all. Derivatives by torch.func's transforms are refused, forward mode with torch's own
error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eccsnn.ops import _library
from eccsnn.ops._autograd import needs_grad, refuse_second_derivative, refuse_transforms
from eccsnn.ops.spike_bits import Placement, dense, pack_bits, unpack_bits

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_Size = int | tuple[int, ...]


def spike_conv2d(
    spikes: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Size = 1,
    padding: _Size | str = 0,
    dilation: _Size = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` of spikes that keeps their bits for the backward pass.

    Differentiable once in `spikes`, `weight` and `bias`. Under autocast all are cast as conv2d casts them.

    Args:
        spikes: `[N, C, H, W]` or `[C, H, W]` of 0 and 1; float32, float64, bfloat16 or float16; any strides (dense
            memory, contiguous or channels-last, is not copied).
        weight: `[C_out, C / groups, kernel_h, kernel_w]`.
        bias: `[C_out]` or None.
        stride, padding, dilation, groups: As for conv2d, padding "same" and "valid" included.

    Returns:
        `[N, C_out, H_out, W_out]` or `[C_out, H_out, W_out]`.

    Raises:
        TypeError: If the spikes have another dtype.
        ValueError: If a spike is neither 0 nor 1, where its bits are kept on the CPU (in a compiled graph a
            RuntimeError; on CUDA nobody looks, and the weight's gradient takes such a value for 1).
        RuntimeError: If a second derivative is asked for.
        NotImplementedError: If a transform of torch.func asks for a derivative.
        BuildError: If the spikes are on CUDA and the CUDA op library is not loaded.

    Example:
        >>> import torch
        >>> weight = torch.ones(1, 1, 2, 2, requires_grad=True)
        >>> spike_conv2d(torch.eye(3).view(1, 1, 3, 3), weight).sum().backward()
        >>> weight.grad.tolist()
        [[[[2.0, 1.0], [1.0, 2.0]]]]
    """
    _check("spike_conv2d", spikes)
    if not needs_grad(spikes, weight, bias):
        return functional.conv2d(spikes, weight, bias, stride, padding, dilation, groups)
    refuse_transforms("spike_conv2d")
    if spikes.dim() == 3:
        return spike_conv2d(spikes.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    spikes, weight, bias = _as_autocast_would(spikes, weight, bias)
    if isinstance(padding, str):
        spikes, padding = _pad_as_named(spikes, weight, padding, _pair(stride), _pair(dilation))
    return _SpikeConv2d.apply(spikes, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)


def spike_linear(spikes: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of spikes that keeps their bits for the backward pass.

    Differentiable once in `spikes`, `weight` and `bias`. Under autocast all are cast as linear casts them.

    Args:
        spikes: `[..., C]` of 0 and 1; float32, float64, bfloat16 or float16.
        weight: `[C_out, C]`.
        bias: `[C_out]` or None.

    Returns:
        `[..., C_out]`.

    Raises:
        TypeError, ValueError, RuntimeError, NotImplementedError, BuildError: As for `spike_conv2d`.

    Example:
        >>> import torch
        >>> weight = torch.zeros(1, 3, requires_grad=True)
        >>> spike_linear(torch.tensor([[1.0, 0.0, 1.0]]), weight).sum().backward()
        >>> weight.grad.tolist()
        [[1.0, 0.0, 1.0]]
    """
    _check("spike_linear", spikes)
    if not needs_grad(spikes, weight, bias) or spikes.dim() == 0:
        return functional.linear(spikes, weight, bias)
    refuse_transforms("spike_linear")
    spikes, weight, bias = _as_autocast_would(spikes, weight, bias)
    if spikes.dim() == 2:
        return _SpikeLinear.apply(spikes, weight, bias)
    # As torch does it: one matrix product over all rows, which takes the bias along only if no copy is needed.
    rows = spikes.unsqueeze(0) if spikes.dim() == 1 else spikes.flatten(0, -2)
    takes_bias = bias is not None and spikes.is_contiguous()
    mapped = _SpikeLinear.apply(rows, weight, bias if takes_bias else None)
    mapped = mapped.view(*spikes.shape[:-1], weight.shape[0])
    return mapped if takes_bias or bias is None else mapped + bias


def spike_max_pool2d(spikes: Tensor, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0) -> Tensor:
    """`torch.nn.functional.max_pool2d` of spikes that keeps their bits, and no indices, for the backward pass.

    Differentiable once. Gradients go where torch sends them: to the first spike of a window by rows, then columns; to
    its first position where nothing fired.

    Args:
        spikes: `[N, C, H, W]` or `[C, H, W]` of 0 and 1; float32, float64, bfloat16 or float16; any strides. On the
            CPU the backward pass is fastest in channels-last memory.
        kernel_size, stride, padding: As for max_pool2d; a stride of None is the kernel's size.

    Returns:
        `[N, C, H_out, W_out]` or `[C, H_out, W_out]`.

    Raises:
        TypeError, ValueError, RuntimeError, NotImplementedError, BuildError: As for `spike_conv2d`.

    Example:
        >>> import torch
        >>> spikes = torch.tensor([[[[0.0, 1.0], [1.0, 1.0]]]], requires_grad=True)
        >>> spike_max_pool2d(spikes, 2).sum().backward()
        >>> spikes.grad.tolist()
        [[[[0.0, 1.0], [0.0, 0.0]]]]
    """
    _check("spike_max_pool2d", spikes)
    if not needs_grad(spikes):
        return functional.max_pool2d(spikes, kernel_size, stride, padding)
    refuse_transforms("spike_max_pool2d")
    if spikes.dim() == 3:
        return spike_max_pool2d(spikes.unsqueeze(0), kernel_size, stride, padding).squeeze(0)
    kernel = _pair(kernel_size)
    return _SpikeMaxPool2d.apply(spikes, kernel, kernel if stride is None else _pair(stride), _pair(padding))


def _check(name: str, spikes: Tensor) -> None:
    if not isinstance(spikes, Tensor) or spikes.dtype not in _DTYPES:
        given = spikes.dtype if isinstance(spikes, Tensor) else type(spikes).__name__
        raise TypeError(f"{name}: spikes is {given}; expected a tensor of float32, float64, bfloat16 or float16.")
    _library.require_kernels_for(spikes)


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return tuple(size) if len(size) == 2 else (size[0], size[0])


def _as_autocast_would(spikes: Tensor, *tensors: Tensor | None) -> tuple[Any, ...]:
    """Tensors in the dtype that autocast gives a convolution or a matrix product: all but float64."""
    device = spikes.device.type
    everything = (spikes, *tensors)
    if not torch.is_autocast_enabled(device):
        return everything
    dtype = torch.get_autocast_dtype(device)
    return tuple(
        tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in everything
    )


def _pad_as_named(
    spikes: Tensor, weight: Tensor, padding: str, stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Spikes and a padding in numbers. Like torch, pads the spikes where one side takes one more than the other."""
    if padding == "valid":
        return spikes, (0, 0)
    if padding != "same":
        raise ValueError(f"spike_conv2d: padding={padding!r}; expected numbers, 'same' or 'valid'.")
    if stride != (1, 1):
        raise ValueError(
            f"spike_conv2d: padding='same' with stride={stride}; expected stride 1, or padding in numbers."
        )
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if any(t % 2 for t in total):
        spikes = functional.pad(spikes, (0, total[1] % 2, 0, total[0] % 2))
    return spikes, (total[0] // 2, total[1] // 2)


# ---- autograd: forward and backward call what torch's own formulas call ----


class _SpikeConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        spikes: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        spikes = dense(spikes)
        out = torch.conv2d(spikes, weight, bias, stride, padding, dilation, groups)
        bits = None
        if ctx.needs_input_grad[1]:
            bits, ctx.placement = pack_bits(spikes, "spike_conv2d")
        else:
            ctx.placement = Placement(tuple(spikes.shape), tuple(spikes.stride()), spikes.dtype)
        ctx.save_for_backward(bits, weight)
        ctx.bias_size = None if bias is None else tuple(bias.shape)
        ctx.window = (stride, padding, dilation, False, (0, 0), groups)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        refuse_second_derivative("spike_conv2d")
        bits, weight = ctx.saved_tensors
        # Without bits nobody reads the values of the input, but its sizes and memory format count.
        spikes = ctx.placement.empty(grad) if bits is None else unpack_bits(bits, ctx.placement)
        mask = ctx.needs_input_grad[:3]
        grads = torch.ops.aten.convolution_backward(grad, spikes, weight, ctx.bias_size, *ctx.window, mask)
        return *grads, None, None, None, None


class _SpikeLinear(torch.autograd.Function):
    """Of spikes `[rows, C]`."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        spikes = dense(spikes)
        out = functional.linear(spikes, weight, bias)
        bits = None
        if ctx.needs_input_grad[1]:
            bits, ctx.placement = pack_bits(spikes, "spike_linear")
        ctx.columns_first = spikes.stride(0) == 1 and spikes.stride(1) == spikes.shape[0]
        ctx.save_for_backward(bits, weight)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        refuse_second_derivative("spike_linear")
        bits, weight = ctx.saved_tensors
        grad_spikes = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            # torch gives the gradient the memory order of the spikes.
            grad_spikes = weight.t().mm(grad.t()).t() if ctx.columns_first else grad.mm(weight)
        if ctx.needs_input_grad[1]:
            grad_weight = grad.t().mm(unpack_bits(bits, ctx.placement))
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(0)
        return grad_spikes, grad_weight, grad_bias


class _SpikeMaxPool2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        spikes = dense(spikes)
        out = torch.max_pool2d(spikes, kernel_size, stride, padding)
        bits, ctx.placement = pack_bits(spikes, "spike_max_pool2d")
        ctx.save_for_backward(bits)
        ctx.channels_last = spikes.permute(0, 2, 3, 1).is_contiguous() and not spikes.is_contiguous()
        ctx.window = (kernel_size, stride, padding)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        refuse_second_derivative("spike_max_pool2d")
        (bits,) = ctx.saved_tensors
        if ctx.channels_last and grad.device.type == "cpu":
            height, width = ctx.placement.size[2:]
            grad_spikes = torch.ops.eccsnn.spike_max_pool2d_backward(
                grad.permute(0, 2, 3, 1), bits, height, width, *ctx.window
            ).permute(0, 3, 1, 2)
        else:
            spikes = unpack_bits(bits, ctx.placement)
            _, indices = torch.ops.aten.max_pool2d_with_indices(spikes, *ctx.window)
            grad_spikes = torch.ops.aten.max_pool2d_with_indices_backward(
                grad, spikes, *ctx.window, (1, 1), False, indices
            )
        return grad_spikes, None, None, None


@torch.library.register_fake("eccsnn::spike_max_pool2d_backward")
def _spike_max_pool2d_backward_fake(grad: Tensor, bits: Tensor, height: int, width: int, *window: Any) -> Tensor:
    return grad.new_empty((grad.shape[0], height, width, grad.shape[3]))
