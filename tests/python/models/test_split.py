"""A model in two parts computes what the whole model computes, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from eccsnn.costs import count_macs
from eccsnn.models import build_model, insert_bottlenecks, split
from eccsnn.nn import firing_rates

MODELS = [
    ("spiking_vgg9", {}),
    ("spiking_vgg16", {}),
    ("sew_resnet10", {}),
    ("sew_resnet18", {}),
    ("sew_resnet18", {"connect": "iand"}),
    ("sew_resnet50", {"connect": "iand"}),
    ("spiking_mobilenet", {}),
    ("spiking_mobilenet", {"depthwise_neurons": False}),
    ("spikformer", {}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in MODELS]


STEPS = 2


def some(points) -> list[str]:
    """First, second, middle and last."""
    points = list(points)
    return list(dict.fromkeys([points[0], points[1], points[len(points) // 2], points[-1]]))


def run_parts(edge, cloud, frames):
    edge_state, cloud_state, logits = edge.init_state(frames.shape[1]), cloud.init_state(frames.shape[1]), []
    for x_t in frames:
        spikes, edge_state = edge.step(x_t, edge_state)
        assert spikes.shape == (frames.shape[1], edge.wire.channels, edge.wire.size, edge.wire.size)
        logits_t, cloud_state = cloud.step(spikes, cloud_state)
        logits.append(logits_t)
    return torch.stack(logits)


def run_whole(model, frames, through):
    state, logits = model.init_state(frames.shape[1], through), []
    for x_t in frames:
        logits_t, state = model.step(x_t, state, through)
        logits.append(logits_t)
    return torch.stack(logits)


@pytest.mark.parametrize(("name", "options"), MODELS, ids=IDS)
def test_the_parts_compute_what_the_model_computes(build, images, name, options):
    model = build(name, **options, timesteps=STEPS).eval()
    frames = torch.randn(STEPS, 2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for x in (images, frames):
            expected, each, maps = model(x), model.forward_timesteps(x), model.forward_features(x).maps
            for point in some(model.split_points):
                edge, cloud = split(model, point)
                spikes = edge(x)
                described = model.split_points[point]
                assert edge.wire == cloud.wire == described
                assert spikes.shape == (STEPS, 2, described.channels, described.size, described.size)
                assert 0 < spikes.max() <= described.max_count
                if point in maps:
                    assert torch.equal(spikes, maps[point])
                assert torch.equal(cloud(spikes), expected)
                assert torch.equal(cloud(spikes.contiguous()), expected)
                assert torch.equal(cloud.forward_timesteps(spikes), each)
        stepped = run_whole(model, frames, None)
        assert not torch.equal(stepped[0], stepped[-1])
        for point in some(model.split_points):
            assert torch.equal(run_parts(*split(model, point), frames), stepped)


@pytest.mark.parametrize(("name", "options"), MODELS, ids=IDS)
@pytest.mark.parametrize("unit", [{"channels": 3}, {"channels": 4, "stride": 2, "kernel_size": 3}], ids=["1x1", "3x3"])
def test_the_parts_compute_what_the_model_with_bottlenecks_computes(build, images, name, options, unit):
    wide = [point for point, d in build(name, **options).split_points.items() if d.size > 2]
    points = list(dict.fromkeys([wide[0], wide[-1]]))
    model = build(name, **options, bottlenecks=dict.fromkeys(points, unit), timesteps=STEPS).eval()
    with torch.no_grad():
        for point in points:
            edge, cloud = split(model, point)
            features = model.forward_features(images, through=point)
            spikes = edge(images)
            assert edge.wire.max_count == 1
            assert edge.wire.name == f"bottleneck:{point}"
            assert spikes.shape[2:] == (unit["channels"], edge.wire.size, edge.wire.size)
            assert torch.equal(spikes, features.maps[f"bottleneck:{point}"])
            assert spikes.any()
            assert torch.equal(cloud(spikes), model(images, through=point))
            assert not torch.equal(cloud(spikes), model(images, through=None))
            assert torch.equal(cloud(edge.wire.unpack(edge.wire.pack(spikes))), cloud(spikes))
            frames = images.expand(STEPS, -1, -1, -1, -1)
            assert torch.equal(run_parts(edge, cloud, frames), run_whole(model, frames, point))


@pytest.mark.parametrize(("name", "options"), MODELS, ids=IDS)
def test_a_prepared_image_gives_the_same_bits_at_every_timestep(build, images, name, options):
    model = build(name, **options).eval()
    edge, _ = split(model, next(iter(model.split_points)))
    with torch.no_grad():
        shown, kept = edge.init_state(2), edge.init_state(2)
        whole, same = model.init_state(2), model.init_state(2)
        prepared, of_model = edge.prepare(images), model.prepare(images)
        for _ in range(3):
            spikes, shown = edge.step(images, shown)
            again, kept = edge.step(prepared, kept)
            assert torch.equal(again, spikes)
            logits, whole = model.step(images, whole)
            logits_again, same = model.step(of_model, same)
            assert torch.equal(logits_again, logits)
        assert all(torch.equal(kept[key], shown[key]) for key in shown)
        assert all(torch.equal(same[key], whole[key]) for key in whole)


class Streamed(nn.Module):
    """Runs an edge timestep by timestep on one image, prepared or shown anew."""

    def __init__(self, edge, prepare):
        super().__init__()
        self.edge, self.prepare = edge, prepare

    def forward(self, x):
        x_t, state = self.edge.prepare(x) if self.prepare else x, self.edge.init_state(1)
        for _ in range(self.edge.timesteps):
            spikes, state = self.edge.step(x_t, state)
        return spikes


def test_streaming_takes_the_macs_that_are_priced():
    # 16 maps of 32 x 32, each value of 3 x 3 x 3.
    edge, _ = split(build_model("spiking_vgg9", num_classes=5, width=0.25, timesteps=4), "conv1")
    (priced,) = count_macs(edge, (3, 32, 32)).values()
    assert priced == 3 * 9 * 16 * 32 * 32 == 442_368
    assert sum(count_macs(Streamed(edge, prepare=True), (3, 32, 32)).values()) == priced
    assert sum(count_macs(Streamed(edge, prepare=False), (3, 32, 32)).values()) == 4 * priced


@pytest.mark.parametrize(("name", "options"), MODELS, ids=IDS)
def test_the_mean_of_the_logits_over_time_is_the_result(build, images, name, options):
    model = build(name, **options).eval()
    with torch.no_grad():
        each = model.forward_timesteps(images)
        assert each.shape == (4, 2, 5)
        torch.testing.assert_close(each.mean(0), model(images), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(each, run_whole(model, images.expand(4, -1, -1, -1, -1), None), rtol=1e-4, atol=1e-4)


def test_the_parts_share_the_models_parameters_under_their_names(build):
    model = build("sew_resnet18", connect="iand", bottlenecks={"stage2.0": {"channels": 4}})
    edge, cloud = split(model, "stage2.0")
    whole, first, second = (
        model.state_dict(keep_vars=True),
        edge.state_dict(keep_vars=True),
        cloud.state_dict(keep_vars=True),
    )
    assert not first.keys() & second.keys()
    assert first.keys() | second.keys() == whole.keys()
    assert all((first | second)[key] is whole[key] for key in whole)
    assert edge.training
    assert all("encoder" in key for key in first if key.startswith("bottlenecks"))
    assert {f"bottlenecks.stage2_0.encoder.{key}" for key in ("conv.weight", "bn.weight")} <= first.keys()


def test_training_through_the_parts_gives_the_models_gradients(build, images):
    model = build("spiking_vgg9", bottlenecks={"pool2": {"channels": 4}})
    twin = copy.deepcopy(model)
    edge, cloud = split(twin, "pool2")
    model(images).square().sum().backward()
    cloud(edge(images)).square().sum().backward()
    for (key, a), b in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert a.grad.any(), key
        assert torch.equal(a.grad, b.grad), key


def test_which_units_run_is_said_for_each_pass(build, images):
    units = {"pool1": {"channels": 4}, "pool2": {"channels": 2, "stride": 2, "kernel_size": 2}}
    model = build("spiking_vgg9").eval()
    supernet = insert_bottlenecks(model, units).eval()
    assert supernet.inserted == ("pool1", "pool2")
    with pytest.raises(ValueError, match=r"inserted at \['pool1', 'pool2'\]; name those of this pass"):
        supernet(images)
    with torch.no_grad():
        assert torch.equal(supernet(images, through=None), model(images))
        for through in ("pool1", ("pool2",), ("pool1", "pool2")):
            with firing_rates(supernet) as rates:
                maps = supernet.forward_features(images, through=through).maps
            ran = [point for point in units if point in through]
            assert [name for name in maps if name.startswith("bottleneck")] == [f"bottleneck:{p}" for p in ran]
            assert {name.split(".")[1] for name in rates if "bottlenecks" in name} == set(ran)
    with pytest.raises(ValueError, match=r"no bottleneck at 'pool3', expected one of \['pool1', 'pool2'\]"):
        supernet(images, through="pool3")


def test_an_upstream_unit_may_be_active_too(build, images):
    model = build("spiking_vgg9", bottlenecks={"pool1": {"channels": 4}, "pool2": {"channels": 4}}).eval()
    edge, cloud = split(model, "pool2", through=("pool1", "pool2"))
    with torch.no_grad():
        assert torch.equal(cloud(edge(images)), model(images, through=("pool1", "pool2")))
        uncut_edge, uncut_cloud = split(model, "pool2", through=None)
        assert uncut_edge.wire.name == "pool2"
        assert torch.equal(uncut_cloud(uncut_edge(images)), model(images, through=None))


def test_an_exit_head_classifies_the_wires_spikes(build, images):
    model = build("spiking_vgg9", bottlenecks={"pool2": {"channels": 4}})
    edge, _ = split(model, "pool2")
    assert edge.exit_head is None
    head = edge.add_exit_head([[0, 1, 2], [3, 4]])
    logits = edge.exit_head(edge(images))
    assert logits.shape == (4, 2, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in edge.parameters())
    assert head.head.class_ids == [0, 1, 2, 3, 4]
    assert "exit_head.head.heads.0.weight" in edge.state_dict()
    assert edge.step(images, edge.init_state(2))[0].shape == (2, 4, 8, 8)


def test_wrong_tensors_are_refused(build, images):
    model = build("spiking_vgg9")
    edge, cloud = split(model, "pool2")
    with pytest.raises(ValueError, match="unknown split point 'pool9': did you mean 'pool"):
        split(model, "pool9")
    with pytest.raises(
        ValueError, match=r"pool2: the wire's tensor has shape \[4, 2, 16, 4, 4\], expected \[T, N, 16, 8, 8\]"
    ):
        cloud(torch.zeros(4, 2, 16, 4, 4))
    with pytest.raises(ValueError, match=r"expected \[N, 16, 8, 8\]"):
        cloud.step(torch.zeros(1, 2, 16, 8, 8), cloud.init_state(2))
    with pytest.raises(ValueError, match="step: state has layers"):
        cloud.step(torch.zeros(2, 16, 8, 8), edge.init_state(2))
    with pytest.raises(ValueError, match="for a batch of 2"):
        edge.step(images, edge.init_state(3))
    with pytest.raises(ValueError, match="for a batch of 2"):
        edge.step(edge.prepare(images), edge.init_state(3))
    with pytest.raises(ValueError, match="prepare them with the model"):
        edge.step(build("spiking_vgg9", width=0.25).prepare(images), edge.init_state(2))
    with pytest.raises(ValueError, match=r"expected images \[N, 3, 32, 32\]"):
        edge.prepare(images.expand(4, -1, -1, -1, -1))
    with pytest.raises(ValueError, match="so 1 channels"):
        edge(images[:, :1])
    with pytest.raises(ValueError, match="expected 4; pass `timesteps`"):
        edge(images.expand(3, -1, -1, -1, -1))
    sums, _ = split(build("sew_resnet18"), "stage1")
    with pytest.raises(ValueError, match="stage1: max_count is 3, expected 1"):
        sums.wire.pack(torch.zeros(4, 2, 8, 32, 32))
    assert sums.wire.bits == 8 * 32 * 32 * 2


def test_a_part_compiles_to_one_graph(build, images):
    torch._dynamo.reset()
    model = build("sew_resnet10", connect="iand", bottlenecks={"stage2": {"channels": 4}}).eval()
    edge, cloud = split(model, "stage2")
    with torch.no_grad():
        spikes = torch.compile(edge, fullgraph=True, backend="aot_eager")(images)
        assert torch.equal(torch.compile(cloud, fullgraph=True, backend="aot_eager")(spikes), model(images))


def test_a_unit_learns_from_sums_of_spikes(build):
    # A layer that keeps one bit a spike for its backward pass would lose that a sum is 2 or 3.
    model = build("sew_resnet10", bottlenecks={"stage2": {"channels": 4}})
    sums = torch.randint(0, 4, (2, 3, model.split_points["stage2"].channels, 4, 4)).float()
    convolution = model.bottleneck("stage2").encoder.conv
    convolution(sums.flatten(0, 1)).square().sum().backward()
    twin = nn.Conv2d(convolution.in_channels, 4, 1, bias=False)
    twin.load_state_dict(convolution.state_dict())
    twin(sums.flatten(0, 1)).square().sum().backward()
    torch.testing.assert_close(convolution.weight.grad, twin.weight.grad)


def test_the_parts_of_a_copy_are_its_own(build):
    model = build("spiking_vgg9")
    twin = copy.deepcopy(model)
    _, cloud = split(twin, "pool1")
    assert cloud.head is twin.head
    assert not {id(p) for p in cloud.parameters()} & {id(p) for p in model.parameters()}


def test_the_chosen_bottlenecks_survive_in_the_spec(build, images):
    model = build("spiking_vgg9", norm_gain=2.0).eval()
    cut = insert_bottlenecks(model, {"pool2": {"channels": 2, "stride": 2, "kernel_size": 2}}).eval()
    assert "bottlenecks" not in model.spec
    assert cut.spec["bottlenecks"]["pool2"]["norm_gain"] == 2.0
    twin = build_model(**cut.spec).eval()
    twin.load_state_dict(cut.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(images), cut(images))
    with torch.no_grad():
        nn.init.zeros_(cut.stem.conv.weight)
    assert model.stem.conv.weight.any()
    with pytest.raises(ValueError, match="'pool2' has a bottleneck already"):
        insert_bottlenecks(cut, {"pool2": {"channels": 2}})


def test_bottlenecks_leave_the_other_weights_as_they_are():
    def weights(**options) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return build_model("spiking_vgg9", num_classes=2, width=0.01, **options).state_dict()

    plain, cut = weights(), weights(bottlenecks={"pool1": {"channels": 2}})
    assert all(torch.equal(plain[key], cut[key]) for key in plain)


@pytest.mark.parametrize(
    ("name", "units", "message"),
    [
        ("spiking_vgg9", {"pool4": {"channels": 2}}, "unknown split point 'pool4': did you mean 'pool"),
        ("spiking_vgg9", {"pool1": {"chanels": 2}}, "unknown option 'chanels': did you mean 'channels'"),
        ("spiking_vgg9", {"pool1": {}}, "bottleneck at 'pool1': channels is missing"),
        ("spiking_vgg9", {"pool1": {"channels": 0}}, "channels is 0"),
        ("spiking_vgg9", {"pool1": {"channels": 2, "stride": 2}}, "kernel_size is 1 at stride 2 on 16x16 pixels"),
        ("torchvision/resnet18", {"stage1": {"channels": 2}}, "it has none"),
    ],
)
def test_wrong_bottlenecks_are_refused(name, units, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, num_classes=2, bottlenecks=units, **({} if "/" in name else {"width": 0.01}))
