"""Training on event frames, from files to a trained network."""

import numpy as np
import pytest
import torch

from eccsnn.data import ImageSet, batches, load_dataset
from eccsnn.data.events import Events, write_events
from eccsnn.data.events.augment import mix_frames
from eccsnn.data.events.classes import CIFAR10_DVS_CLASSES
from eccsnn.models import SpikingModel
from eccsnn.training import FitOptions, predict_logits, train_classifier
from eccsnn.training.classifier import input_shape


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """CIFAR10-DVS in small: the class is where and with which polarity the events are."""
    root = tmp_path_factory.mktemp("cifar10_dvs")
    for label, name in enumerate(CIFAR10_DVS_CLASSES):
        (root / name).mkdir()
        for i in range(8):
            random = np.random.default_rng([label, i])
            x = 24 * (label % 5) + random.integers(0, 24, 600)
            y = random.integers(0, 128, 600)
            polarity = np.full(600, label // 5)
            events = Events(np.sort(random.integers(0, 1000, 600)), x, y, polarity, width=128, height=128)
            write_events(root / name / f"{i}.aedat", events)
    cache = tmp_path_factory.mktemp("cache")
    return load_dataset("cifar10_dvs", root=root, timesteps=3, image_size=16, val_fraction=0.2, cache_dir=cache)


def test_batches_have_time_first_and_zero_stays_zero(splits):
    (batch,) = batches(splits.val, 100, mean=splits.mean, std=splits.std)
    frames = splits.val.images
    assert batch.images.shape == (3, len(frames), 2, 16, 16)
    expected = frames.swapaxes(0, 1) / (255 * np.array(splits.std).reshape(2, 1, 1))
    np.testing.assert_allclose(batch.images.numpy(), expected, rtol=1e-6)
    (plain,) = batches(splits.val, 100, mean=(0.0, 0.0), std=(1 / 255, 1 / 255))
    np.testing.assert_allclose(plain.images.numpy(), frames.swapaxes(0, 1), rtol=1e-6)


@pytest.mark.parametrize("augment", ["crop_flip", "flip"])
def test_all_frames_of_a_recording_are_augmented_alike(augment):
    frame = np.random.default_rng(0).integers(0, 255, (20, 1, 2, 16, 16), dtype=np.uint8)
    still = ImageSet(np.repeat(frame, 4, axis=1), np.zeros(20, np.int64))
    images = ImageSet(frame[:, 0], np.zeros(20, np.int64))
    (frames,) = batches(still, 20, augment=augment, seed=3)
    (expected,) = batches(images, 20, augment=augment, seed=3)
    for t in range(4):
        assert torch.equal(frames.images[t], expected.images)
    (as_they_were,) = batches(images, 20)
    assert not torch.equal(expected.images, as_they_were.images)


@pytest.mark.parametrize(("name", "channels"), [("spiking_vgg9", 2), ("resnet18", 6)])
def test_a_classifier_learns_from_event_frames(splits, name, channels):
    """An SNN sees one frame a timestep; an ANN all of them at once, as channels."""
    model, result = train_classifier(
        splits,
        model={"name": name, "width": 0.125},
        training={"epochs": 10, "batch_size": 8, "lr": 3e-3},
        seed=0,
    )
    assert model.in_channels == channels
    losses = [record["loss"] for record in result.records]
    assert losses[-1] < 0.7 * losses[0], losses
    assert "val_accuracy" in result.records[-1]
    logits = predict_logits(model, splits.test, mean=splits.mean, std=splits.std)
    assert logits.shape == (len(splits.test), 10)
    if isinstance(model, SpikingModel):
        assert model.timesteps == 3
        (batch,) = batches(splits.test, 100, mean=splits.mean, std=splits.std)
        state, total = model.init_state(len(splits.test)), 0.0
        for x_t in batch.images:
            logits_t, state = model.step(x_t, state)
            total = total + logits_t
        torch.testing.assert_close(total / 3, torch.from_numpy(logits), rtol=1e-3, atol=1e-3)


def test_the_shape_follows_from_data_and_model(splits):
    assert input_shape(splits, "spiking_vgg9") == {"image_size": 16, "in_channels": 2, "timesteps": 3}
    assert input_shape(splits, "resnet18") == {"image_size": 16, "in_channels": 6}
    assert input_shape(load_dataset("digits", image_size=8), "spiking_vgg9") == {"image_size": 8}


def test_other_timesteps_than_those_of_the_frames_are_an_error(splits):
    with pytest.raises(ValueError, match="input has T = 3 timesteps"):
        train_classifier(
            splits,
            model={"name": "spiking_vgg9", "width": 0.125, "timesteps": 4},
            training={"epochs": 1, "batch_size": 16},
            seed=0,
        )


def test_mixed_batches_are_those_of_mix_frames_with_both_labels(splits):
    for step, batch in enumerate(batches(splits.train, 16, seed=1, epoch=2, mix="event_mix")):
        frames = torch.from_numpy(splits.train.gather(batch.indices.numpy()))
        expected = mix_frames(frames, seed=1, epoch=2, step=step)
        torch.testing.assert_close(batch.images, expected.frames.transpose(0, 1) / 255)
        assert torch.equal(batch.labels, torch.from_numpy(splits.train.labels)[batch.indices])
        assert torch.equal(batch.mixed.labels, batch.labels[expected.partner])
        assert torch.equal(batch.mixed.share, expected.share)
    (plain,) = batches(splits.val, 100)
    assert plain.mixed is None


def test_only_event_frames_are_mixed(splits):
    images = ImageSet(np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="these are images"):
        batches(images, 2, mix="event_mix")
    with pytest.raises(ValueError, match="mix is 'cut_mix', expected None, or for event frames one of 'event_mix'"):
        batches(splits.train, 2, mix="cut_mix")


def test_training_with_mixed_recordings_learns(splits):
    model = {"name": "resnet18", "width": 0.125}
    training = {"epochs": 12, "batch_size": 16, "lr": 3e-3}
    options = FitOptions(mix="event_mix")
    net, result = train_classifier(splits, model=model, training=training, seed=0, options=options)
    _, plain = train_classifier(splits, model=model, training=training | {"epochs": 1}, seed=0)
    assert result.records[0]["cross_entropy"] != plain.records[0]["cross_entropy"]
    logits = predict_logits(net, splits.test, mean=splits.mean, std=splits.std)
    assert (logits.argmax(1) == splits.test.labels).mean() > 0.8
