"""Features as exact integers: of a network, layer by layer."""

import numpy as np
import pytest
import torch

from eccsnn.data import ImageSet, batches
from eccsnn.incremental.counts import as_counts, as_labels, count_bound, count_features
from eccsnn.models import build_model

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def images(count=5, size=32):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 256, (count, 3, size, size)).astype(np.uint8), np.arange(count))


def network(name="spiking_vgg9", **options):
    torch.manual_seed(0)
    return build_model(name, num_classes=3, image_size=32, width=0.125, timesteps=3, norm_gain=2.0, **options)


def test_penultimate_counts_are_what_the_head_sees():
    model = network().train()
    counts = count_features(model, images(), mean=MEAN, std=STD, batch_size=2)
    assert model.training
    (batch,) = batches(images(), 5, mean=MEAN, std=STD)
    with torch.no_grad():
        features = model.eval().forward_features(batch.images)
    assert counts.dtype == np.uint8
    assert counts.max() <= count_bound(model) == 3
    np.testing.assert_allclose(counts / 3, features.penultimate.numpy(), atol=1e-6)


def test_layers_lie_side_by_side():
    model = network()
    counts = count_features(model, images(), mean=MEAN, std=STD, layers=("conv_last", "penultimate"))
    (batch,) = batches(images(), 5, mean=MEAN, std=STD)
    with torch.no_grad():
        spikes = model.eval().forward_features(batch.images).maps["conv_last"]
    assert counts.dtype == np.uint8
    assert count_bound(model, ("conv_last", "penultimate")) == 3 * 8 * 8
    np.testing.assert_array_equal(counts[:, :32], spikes.sum((0, -2, -1)).numpy())
    np.testing.assert_array_equal(counts[:, 32:], count_features(model, images(), mean=MEAN, std=STD))


def test_means_over_space_of_sums_of_spikes_are_counts_too():
    model = network("sew_resnet10")
    counts = count_features(model, images(), mean=MEAN, std=STD)
    (batch,) = batches(images(), 5, mean=MEAN, std=STD)
    with torch.no_grad():
        features = model.eval().forward_features(batch.images)
    last = features.maps[next(reversed(model.sections))]
    np.testing.assert_array_equal(counts, last.sum((0, -2, -1)).numpy())
    assert counts.max() <= count_bound(model)


def test_what_is_no_count():
    model = network()
    with pytest.raises(ValueError, match="unknown layer 'conv_lst': did you mean 'conv_last'"):
        count_features(model, images(), mean=MEAN, std=STD, layers=("conv_lst",))
    with pytest.raises(ValueError, match="no layer is named"):
        count_bound(model, ())
    with pytest.raises(ValueError, match="there are no images"):
        count_features(model, images(0), mean=MEAN, std=STD)
    model.timesteps = 40
    with pytest.raises(ValueError, match="go up to 40960, expected at most 32767"):
        count_bound(model, ("conv1",))
    model = network()
    forward = model.forward_features
    model.forward_features = lambda x: forward(x)._replace(penultimate=forward(x).penultimate + 0.1)
    with pytest.raises(ValueError, match="no means of integer counts"):
        count_features(model, images(), mean=MEAN, std=STD)


def test_labels():
    assert as_labels([], 0).dtype == np.int64
    assert as_labels(torch.tensor([3, 1]), 2).tolist() == [3, 1]
    assert as_counts(np.zeros((0, 3)), 4).shape == (0, 3)
    assert as_counts([[300]], 400).dtype == np.int16
