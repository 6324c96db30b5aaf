import copy

import pytest
import torch
from torch import nn

from eccsnn.nn import firing_rates, state_from_tensors, state_to_tensors

SNNS = [
    "spiking_vgg9",
    "spiking_vgg16",
    "sew_resnet10",
    "sew_resnet18",
    "sew_resnet50",
    "spiking_mobilenet",
    "spikformer",
]


def run_steps(model, frames):
    state, logits = model.init_state(frames.shape[1]), []
    for x_t in frames:
        logits_t, state = model.step(x_t, state)
        logits.append(logits_t)
    return torch.stack(logits), state


@pytest.mark.parametrize("name", SNNS)
@pytest.mark.parametrize("kind", ["static", "events"])
def test_all_steps_at_once_equal_single_steps(build, images, name, kind):
    model = build(name).eval()
    frames = images.expand(4, -1, -1, -1, -1) if kind == "static" else torch.randn(4, 2, 3, 32, 32)
    with torch.no_grad(), firing_rates(model) as rates:
        expected = model(images if kind == "static" else frames)
    assert all(rate > 0 for rate in rates.values())
    with torch.no_grad():
        logits, _ = run_steps(model, frames)
    assert not torch.allclose(logits[0], logits[-1])
    torch.testing.assert_close(logits.mean(0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SNNS)
def test_a_static_image_equals_the_same_frame_repeated(build, images, name):
    model = build(name).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images.repeat(4, 1, 1, 1, 1)), rtol=1e-4, atol=1e-4)


def test_batch_norm_sees_a_static_image_as_it_sees_the_repeated_one(build, images):
    one = build("spiking_vgg9")
    many = copy.deepcopy(one)
    one(images), many(images.repeat(4, 1, 1, 1, 1))
    torch.testing.assert_close(one.stem.bn.running_mean, many.stem.bn.running_mean)
    torch.testing.assert_close(one.stem.bn.running_var, many.stem.bn.running_var, rtol=1e-3, atol=1e-3)


def test_the_first_convolution_runs_once_for_a_static_image(build, images):
    model, batches = build("spiking_vgg9"), []
    model.stem.conv.register_forward_hook(lambda layer, inputs, output: batches.append(inputs[0].shape[0]))
    model(images)
    model(images.repeat(4, 1, 1, 1, 1))
    assert batches == [2, 8]


def test_a_stored_state_continues_where_it_stopped(build, images):
    model = build("sew_resnet10").eval()
    with torch.no_grad():
        logits, _ = run_steps(model, images.expand(4, -1, -1, -1, -1))
        _, state = run_steps(model, images.expand(2, -1, -1, -1, -1))
        kept = {name: value.clone() for name, value in state.items()}
        restored = state_from_tensors(state_to_tensors(state), like=model.init_state(2))
        logits_3, _ = model.step(images, restored)
        again, _ = model.step(images, state)
    torch.testing.assert_close(logits_3, logits[2])
    assert torch.equal(again, logits_3)
    assert all(torch.equal(state[name], kept[name]) for name in kept), "step changed the state it was given"


def test_the_state_is_at_rest_and_keeps_its_structure(build, images):
    model = build("spiking_vgg9", neuron={"v_reset": -0.5}).eval()
    state = model.init_state(2)
    assert all((value == -0.5).all() and value.dtype == torch.float32 for value in state.values())
    _, after = model.step(images, state)
    assert [(k, v.shape) for k, v in after.items()] == [(k, v.shape) for k, v in state.items()]
    assert next(iter(state)) == "stem.lif"
    assert next(iter(model.double().init_state(1).values())).dtype == torch.float64


def test_a_wrong_state_is_refused(build, images):
    model = build("spiking_vgg9")
    state = model.init_state(2)
    with pytest.raises(ValueError, match=r"step: state has layers \[\], expected"):
        model.step(images, {})
    with pytest.raises(ValueError, match=r"for a batch of 1"):
        model.step(images[:1], state)
    with pytest.raises(ValueError, match="batch is -1"):
        model.init_state(-1)
    with pytest.raises(ValueError, match=r"expected images \[N, 3, 32, 32\]"):
        model.step(images.expand(4, -1, -1, -1, -1), state)


@pytest.mark.parametrize(
    ("timesteps", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("3", TypeError), (True, TypeError)]
)
def test_timesteps_are_an_integer_of_at_least_one(build, images, timesteps, error):
    model = build("spiking_vgg9")
    before = int(model.stem.bn.num_batches_tracked)
    for run in (model, model.forward_timesteps, model.forward_features):
        with pytest.raises(error, match=rf"^spiking_vgg9: timesteps is {timesteps!r}; expected .*at least 1"):
            run(images, timesteps=timesteps)
    assert model.stem.bn.num_batches_tracked == before


def test_event_frames_must_fit_the_timesteps(build, images):
    with pytest.raises(ValueError, match=r"T = 3 timesteps .* expected 4"):
        build("spiking_vgg9")(images.repeat(3, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"images \[N, 3, 32, 32\] or event frames \[T, N, 3, 32, 32\]"):
        build("spiking_vgg9")(images.flatten())


def test_spikes_stay_in_channels_last_memory(build, images):
    model = build("spiking_vgg9")
    for spikes in model.forward_features(images).maps.values():
        assert spikes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    twin = build("spiking_vgg9")
    twin.load_state_dict({name: value.contiguous() for name, value in model.state_dict().items()})
    assert twin.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_empty_batch_gives_empty_logits(build, images):
    model = build("spiking_vgg9").eval()
    with torch.no_grad():
        assert model(images[:0]).shape == (0, 5)
        assert model.step(images[:0], model.init_state(0))[0].shape == (0, 5)


def test_a_float64_model_stays_float64(build, images):
    model = build("spiking_vgg9").double()
    assert model(images.double()).dtype == torch.float64


def test_batch_norm_within_the_neurons_is_that_of_torch(build, images):
    model = build("spiking_vgg9").double()
    fused = model.forward_features(images.double())
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda *_: None)  # who is listened to is called
    plain = model.forward_features(images.double())
    for name, spikes in fused.maps.items():
        assert torch.equal(spikes, plain.maps[name])
    torch.testing.assert_close(fused.penultimate, plain.penultimate)
