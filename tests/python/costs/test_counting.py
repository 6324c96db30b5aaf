import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from eccsnn.costs import count_macs, count_synops


class Step(nn.Module):
    """A stand-in neuron: fires where its input is at least 1."""

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 1).to(x.dtype)


class Seq(nn.Module):
    """Runs functions and modules in order."""

    def __init__(self, *parts) -> None:
        super().__init__()
        self.parts = parts
        self.modules_ = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


def synops(model: nn.Module, images: Tensor, **options):
    return count_synops(model, images, neurons=(Step,), **options)


def image(size: int, *positions: tuple[int, int], channels: int = 1) -> Tensor:
    x = torch.zeros(1, channels, size, size)
    for row, column in positions:
        x[0, 0, row, column] = 1.0
    return x


def test_border_spikes_have_a_smaller_fan_out():
    # 3x3, padding 1, two output channels: a corner reaches 4 positions, an edge 6, the inside 9.
    conv = nn.Conv2d(1, 2, 3, padding=1)
    for position, reach in (((0, 0), 4), ((0, 1), 6), ((1, 1), 9), ((3, 3), 4)):
        report = synops(nn.Sequential(Step(), conv), image(4, position))
        assert report.synops_per_image == 2 * reach
    report = synops(nn.Sequential(Step(), conv), image(4, (0, 0), (1, 1), (0, 1)))
    assert report.synops_per_image == 2 * (4 + 9 + 6)
    assert report.macs_per_image == 0
    assert report.dense_per_image == 16 * 2 * 9


def test_stride_leaves_positions_out():
    # Stride 2, padding 1 on 4 pixels: windows {-1, 0, 1} and {1, 2, 3}, so the indices take part 1, 2, 1, 1 times.
    conv = nn.Conv2d(1, 3, 3, stride=2, padding=1)
    for position, reach in (((0, 0), 1), ((1, 1), 4), ((1, 3), 2), ((2, 2), 1)):
        assert synops(nn.Sequential(Step(), conv), image(4, position)).synops_per_image == 3 * reach
    # A 1x1 convolution with stride 2 never sees the odd pixels.
    skip = nn.Conv2d(1, 5, 1, stride=2)
    assert synops(nn.Sequential(Step(), skip), image(4, (1, 1), (2, 2))).synops_per_image == 5


def test_groups_divide_the_fan_out():
    conv = nn.Conv2d(2, 6, 1, groups=2)
    assert synops(nn.Sequential(Step(), conv), image(2, (0, 0), channels=2)).synops_per_image == 3


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(3, 7),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    transposed=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equals_a_convolution_with_ones(size, kernel, stride, padding, dilation, groups, transposed, seed):
    if not transposed and size + 2 * padding < dilation * (kernel - 1) + 1:
        return
    if transposed and (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 < 1:
        return
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(2, 4, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=False)
    spikes = (torch.rand(3, 2, size, size, generator=torch.Generator().manual_seed(seed)) < 0.3).float()
    measured = synops(nn.Sequential(Step(), conv), spikes)
    nn.init.ones_(conv.weight)
    with torch.no_grad():
        expected = float(conv(spikes).sum()) / 3
    assert measured.synops_per_image == pytest.approx(expected, abs=1e-6)


def test_a_sum_of_spikes_counts_its_value():
    add = Seq(Step(), lambda s: s + s, nn.Conv2d(1, 2, 1))
    assert synops(add, image(2, (0, 0))).synops_per_image == 4


def test_spikes_through_reshapes_pooling_and_masks_stay_spikes():
    model = Seq(
        Step(),
        nn.MaxPool2d(2),
        lambda s: torch.cat([s, s], dim=1),
        lambda s: s * (1 - s.flip(-1)),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    report = synops(model, image(4, (0, 0)))
    # One spike pooled to one, doubled by cat; its mirror image is silent, so the mask lets both through.
    assert report.synops_per_image == 2 * 5
    assert report.layers[0].input == "spikes"


def test_pixels_are_analog_even_if_they_are_zero_and_one():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), Step(), nn.Flatten(), nn.Linear(32, 3))
    report = synops(model, image(4, (1, 1)))
    assert [layer.input for layer in report.layers] == ["analog", "spikes"]
    assert report.macs_per_image == 16 * 2 * 9
    assert synops(model, image(4, (1, 1)), spike_input=True).layers[0].synops == 18


def test_whole_numbers_that_a_weight_went_into_are_analog():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    report = synops(nn.Sequential(Step(), Scale(), nn.Conv2d(1, 2, 1)), image(2, (0, 0)))
    assert (report.synops_per_image, report.macs_per_image) == (0, 8)


def test_means_of_spikes_are_analog():
    pooled = nn.Sequential(Step(), nn.AvgPool2d(2), nn.Conv2d(1, 2, 1))
    assert synops(pooled, image(4, (0, 0))).macs_per_image == 4 * 2


def test_one_fractional_image_makes_the_layer_analog_for_all():
    model = nn.Sequential(Step(), nn.AvgPool2d(2), nn.Conv2d(1, 2, 1))
    whole, fractional = torch.zeros(1, 1, 2, 2), image(2, (0, 0))
    for images in (torch.cat([whole, fractional]), torch.cat([fractional, whole])):
        report = synops(model, images, batch_size=1)
        assert (report.synops_per_image, report.macs_per_image) == (0, 2)


def test_an_operation_in_place_ends_being_spikes():
    weight = torch.full((1, 1, 2, 2), 3.0)
    model = Seq(Step(), lambda s: s.mul_(weight), nn.Conv2d(1, 2, 1))
    assert synops(model, image(2, (0, 0))).macs_per_image == 8


class Spiking(nn.Module):
    """Static image convolved once, then two timesteps of spikes folded into the batch, head on the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.fire = Step()
        self.conv = nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(64, 3)
        with torch.no_grad():
            self.encode.weight.zero_()
            self.encode.weight[:, 0, 1, 1] = 1.0  # both channels repeat the image

    def forward(self, x: Tensor) -> Tensor:
        current = self.encode(x)
        spikes = self.fire(current.unsqueeze(0).expand(2, *current.shape))
        out = self.conv(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])
        rate = self.fire(out * 0 + 1).flatten(2).mean(0)
        return self.head(rate * 0.5)


def test_totals_are_for_one_image_and_a_static_input_counts_once():
    images = torch.cat([image(4, (0, 0), (2, 2)), image(4, (1, 1)), image(4)])
    model = Spiking()
    report = synops(model, images)
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["encode"].macs == 16 * 2 * 9  # once, not twice
    # 3 pixels over 3 images, 2 channels, 2 timesteps, each spike reaching 4 channels
    assert by_name["conv"].synops == 3 / 3 * 2 * 2 * 4
    assert by_name["conv"].dense == 2 * 16 * 2 * 4
    assert by_name["head"].input == "analog"
    assert by_name["head"].macs == 64 * 3
    assert report.images == 3


def test_result_does_not_depend_on_the_batch_size():
    images = (torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2).round()
    reports = [synops(Spiking(), images, batch_size=size) for size in (1, 2, 5, 64)]
    for report in reports[1:]:
        assert [(x.name, x.synops, x.macs) for x in report.layers] == [
            (x.name, x.synops, x.macs) for x in reports[0].layers
        ]
        assert report.firing_rates == reports[0].firing_rates


def test_firing_rates_and_neuron_steps():
    report = synops(nn.Sequential(Step(), nn.Conv2d(1, 1, 1)), torch.cat([image(4, (0, 0), (1, 1)), image(4)]))
    assert report.firing_rates == {"0": 2 / 32}
    assert report.neuron_steps == 16


def test_event_frames_divide_by_the_second_dimension():
    frames = torch.cat([image(4, (0, 0)), image(4, (1, 1))]).unsqueeze(1)  # [T=2, N=1, 1, 4, 4]
    model = Seq(lambda x: x.flatten(0, 1), nn.Conv2d(1, 2, 3, padding=1), Step())
    report = synops(model, frames, spike_input=True)
    assert report.synops_per_image == 2 * (4 + 9)
    assert report.images == 1


def test_products_between_spike_matrices():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fire = Step()

        def forward(self, x: Tensor) -> Tensor:
            q = self.fire(x).flatten(1, 2)  # [N, 2, 2]
            return (q @ q.transpose(-2, -1)) @ q * 0.125

    x = torch.tensor([[1.0, 1.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    report = synops(Attention(), x)
    first, second = report.layers
    # q q^T = [[2, 1], [1, 1]]: its sum, 5, is the number of meetings; times q: [[2, 3], [1, 2]] with the sum 8.
    assert (first.input, first.synops, first.dense) == ("spikes", 5, 8)
    assert (second.synops, second.name) == (8, "model#2")


def test_spikes_that_gate_an_analog_matrix():
    weight = torch.randn(3, 4)
    left = Seq(Step(), lambda s: s.flatten(1) @ weight.T)  # [1, 4] @ [4, 3]
    assert synops(left, image(2, (0, 0), (1, 1))).synops_per_image == 2 * 3
    right = Seq(Step(), lambda s: weight @ s.flatten(1).T)  # [3, 4] @ [4, 1]
    assert synops(right, image(2, (0, 0), (1, 1))).synops_per_image == 2 * 3


def test_mode_and_hooks_are_restored_also_after_an_error():
    model = nn.Sequential(Step(), nn.Conv2d(1, 1, 1), nn.Dropout())
    model.train()
    model[2].eval()
    synops(model, image(2, (0, 0)))
    with pytest.raises(RuntimeError):
        synops(model, torch.zeros(1, 3, 2, 2))
    assert model.training
    assert not model[2].training
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("shape", [(1, 2, 2), (0, 1, 2, 2), (2, 0, 1, 2, 2)])
def test_bad_images(shape):
    with pytest.raises(ValueError, match="images have the shape"):
        synops(nn.Sequential(Step(), nn.Conv2d(1, 1, 1)), torch.zeros(shape))


def test_a_model_without_neurons_is_refused():
    with pytest.raises(ValueError, match="no spiking neuron"):
        synops(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="batch_size"):
        synops(Step(), torch.zeros(1, 1, 2, 2), batch_size=0)


def test_macs_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))
    assert count_macs(model, (3, 4, 4)) == {"0": 2 * 2 * 8 * 27, "3": 320}


def test_macs_of_attention_by_hand():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(x, x, x, need_weights=False)[0]

    # 5 tokens of 8: projections in 5*8*24 and out 5*8*8, scores 5*5*8, values 5*5*8
    assert sum(count_macs(Attention(), (5, 8)).values()) == 960 + 320 + 200 + 200


def test_macs_agree_with_the_flop_counter_of_torch():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18(num_classes=10)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
    assert sum(count_macs(model, (3, 64, 64)).values()) * 2 == counter.get_total_flops()


def test_what_is_not_counted_is_said():
    model = Seq(nn.LSTM(4, 4, batch_first=True), lambda out: out[0])
    with pytest.warns(UserWarning, match="not counted"):
        count_macs(model, (3, 4))


@pytest.mark.parametrize("shape", [(), (3, 0), (3, -1), (3.0,)])
def test_bad_input_shape(shape):
    with pytest.raises(ValueError, match="input_shape"):
        count_macs(nn.Linear(3, 1), shape)


def spiking_model(name: str, **options) -> nn.Module:
    """A small model of the package with batch statistics under which its neurons fire."""
    from eccsnn.models import build_model

    torch.manual_seed(0)
    neuron = {"v_threshold": 0.5}
    model = build_model(name, num_classes=4, image_size=32, width=0.125, timesteps=2, neuron=neuron, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 32, 32))
    return model.eval()


@pytest.mark.parametrize("name", ["spiking_vgg9", "sew_resnet10", "spiking_mobilenet", "spikformer"])
def test_models_of_the_package(name):
    model = spiking_model(name)
    report = count_synops(model, torch.randn(3, 3, 32, 32), batch_size=2)
    assert report.uncounted == ()
    assert report.firing_rates
    assert all(0 < rate < 1 for rate in report.firing_rates.values())
    # Analog are the first convolution, on pixels, and the head, on a mean over time; all between runs on spikes.
    assert [layer.input for layer in report.layers] == ["analog", *["spikes"] * (len(report.layers) - 2), "analog"]
    # The first convolution runs once for a static image, not once a timestep.
    width = next(module for module in model.modules() if isinstance(module, nn.Conv2d)).out_channels
    assert report.layers[0].macs == 32 * 32 * 27 * width
    for layer in report.layers:
        assert (layer.synops > 0) == (layer.input == "spikes")


CUT = {"stage2": {"channels": 4, "stride": 2, "kernel_size": 3}}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spiking_vgg9", {}),
        ("sew_resnet10", {}),
        ("sew_resnet10", {"connect": "iand", "bottlenecks": CUT}),
        ("spiking_mobilenet", {}),
    ],
)
def test_synops_of_a_package_model_equal_a_recount_with_ones(name, options):
    model = spiking_model(name, **options)
    images = torch.randn(2, 3, 32, 32)
    report = count_synops(model, images)
    expected = {}

    def recount(name):
        def hook(module, args):
            ones = torch.ones_like(module.weight, dtype=torch.float64)
            if isinstance(module, nn.ConvTranspose2d):
                reached = nn.functional.conv_transpose2d(
                    args[0].double(), ones, None, module.stride, module.padding, module.output_padding
                )
            else:
                reached = nn.functional.conv2d(
                    args[0].double(), ones, None, module.stride, module.padding, groups=module.groups
                )
            expected[name] = float(reached.sum()) / 2

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_pre_hook(recount(name))
    with torch.no_grad():
        model(images)
    counted = {layer.name: layer.synops for layer in report.layers if layer.kind == "convolution"}
    assert counted.keys() == expected.keys()
    for name in list(counted)[1:]:  # without the first, which is analog
        assert counted[name] == pytest.approx(expected[name], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "point"),
    [
        ("spiking_vgg9", {}, "pool2"),
        ("spiking_mobilenet", {}, "block3"),
        ("sew_resnet10", {}, "stage2"),
        ("sew_resnet10", {"connect": "iand"}, "stage2"),
        ("sew_resnet10", {"connect": "iand", "bottlenecks": CUT}, "stage2"),
        ("spiking_vgg9", {"bottlenecks": {"conv3": {"channels": 4}}}, "conv3"),
    ],
)
def test_the_parts_of_a_model_count_what_the_whole_model_counts(name, options, point):
    from eccsnn.models import split

    model = spiking_model(name, **options)
    images = torch.randn(3, 3, 32, 32)
    edge, cloud = split(model, point)
    with torch.no_grad():
        spikes = edge(images)
    whole = count_synops(model, images, batch_size=2)
    parts = [count_synops(edge, images, batch_size=2), count_synops(cloud, spikes, batch_size=2, spike_input=True)]
    assert [layer for part in parts for layer in part.layers] == list(whole.layers)
    assert parts[0].firing_rates | parts[1].firing_rates == whole.firing_rates
    assert sum(part.neuron_steps for part in parts) == whole.neuron_steps
    assert all(part.images == 3 and part.synops_per_image > 0 for part in parts)
    # What the cloud sees is no analog input, so that only the edge's first layer and the head multiply.
    assert parts[1].macs_per_image == whole.layers[-1].macs


@pytest.mark.parametrize("kind", ["bottlenet", "bottlenet++"])
def test_the_parts_of_an_ann_count_what_the_whole_model_counts(kind):
    from eccsnn.models import build_model, split

    unit = {"kind": kind, "channels": 4, "stride": 2, "kernel_size": 2}
    model = build_model("mobilenet", num_classes=4, width=0.125, bottlenecks={"block3": unit})
    edge, cloud = split(model, "block3")
    wire = (edge.wire.channels, edge.wire.size, edge.wire.size)
    assert count_macs(edge, (3, 32, 32)) | count_macs(cloud, wire, torch.uint8) == count_macs(model, (3, 32, 32))
