"""torch.compile over whole networks: one graph, no new compilation for another batch or T, no change of layout."""

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from eccsnn.models import build_model


class Recorder:
    """A backend that keeps the graphs of forward and backward passes and runs them as they are."""

    def __init__(self):
        self.graphs = []

    def backend(self):
        def keep(graph, _):
            self.graphs.append(graph)
            return graph

        return aot_autograd(fw_compiler=keep, bw_compiler=keep)

    def copies(self):
        """Sizes and strides of what is copied."""
        nodes = [node for graph in self.graphs for node in graph.graph.nodes if node.op == "call_function"]
        names = ("clone", "contiguous", "copy")
        copied = [node for node in nodes if any(part in str(node.target) for part in names)]
        return [(tuple(node.meta["val"].shape), node.meta["val"].stride()) for node in copied]

    def calls(self, op):
        return sum(str(node.target).startswith(op) for graph in self.graphs for node in graph.graph.nodes)


def train(model, x, *arguments):
    loss = nn.functional.cross_entropy(model(x, *arguments), torch.zeros(x.shape[0], dtype=torch.long))
    loss.backward()
    return loss.detach()


CUT = {"bottlenecks": {"stage2": {"channels": 4, "stride": 2, "kernel_size": 2}}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spiking_vgg9", {}),
        ("sew_resnet18", {}),
        ("sew_resnet10", {"connect": "iand", **CUT}),
        ("spiking_mobilenet", {}),
        ("spikformer", {}),
    ],
)
def test_one_graph_without_layout_copies(name, options):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = build_model(name, num_classes=5, width=0.125, **options)
    twin = build_model(name, num_classes=5, width=0.125, **options)
    twin.load_state_dict(model.state_dict())
    recorder = Recorder()
    compiled = torch.compile(model, fullgraph=True, backend=recorder.backend(), dynamic=False)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(train(compiled, x), train(twin, x))
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    for (key, a), b in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=key)
    assert len(recorder.graphs) == 2  # one forward, one backward
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert recorder.calls("eccsnn.norm_lif_forward") == norms
    assert {shape for shape, _ in recorder.copies()} <= {(2, 3, 32, 32)}  # the images become channels-last


def test_another_batch_or_time_is_not_compiled_again():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = build_model("spiking_vgg9", num_classes=5, width=0.125)
    recorder = Recorder()
    compiled = torch.compile(model, fullgraph=True, backend=recorder.backend())
    # torch chooses another convolution below 16 images, and above 16 timesteps membranes are kept: graphs of their own.
    for batch, timesteps in ((16, 4), (17, 4), (17, 5)):  # the first values, and one more of each
        train(compiled, torch.randn(batch, 3, 32, 32), timesteps)
    known = len(recorder.graphs)
    for batch, timesteps in ((24, 5), (20, 7), (32, 3), (18, 16)):
        x = torch.randn(batch, 3, 32, 32)
        model.train()
        train(compiled, x, timesteps)
        assert len(recorder.graphs) == known
        with torch.no_grad():
            assert compiled(x, timesteps).shape == (batch, 5)
        known = len(recorder.graphs)  # the first pass without gradients is a graph of its own
    assert known <= 8
