import pytest
import torch

from eccsnn.models import build_model


def test_vgg16_has_thirteen_convolutions_and_three_linear_layers():
    first = 3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256
    convolutions = 9 * (first + 256 * 512 + 5 * 512 * 512)
    batch_norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    linear = 2 * (512 * 512 + 512) + 512 * 10 + 10
    total = sum(p.numel() for p in build_model("vgg16", num_classes=10).parameters())
    assert total == convolutions + batch_norms + linear == 15_249_354


def test_the_third_map_fits_a_spiking_vgg9():
    teacher = build_model("vgg16", num_classes=2, width=0.25).feature_maps["pool3"]
    student = build_model("spiking_vgg9", num_classes=2, width=0.25).feature_maps["conv_last"]
    assert teacher.channels == student.channels == 64
    assert teacher.stride == 2 * student.stride


def test_dropout_is_an_option_that_the_spec_keeps(images):
    model = build_model("vgg16", num_classes=5, width=0.125, dropout=0.5)
    assert model.spec["dropout"] == 0.5
    torch.manual_seed(0)
    first = model(images)
    assert not torch.equal(first, model(images))
    with pytest.raises(ValueError, match="dropout is 1"):
        build_model("vgg16", num_classes=5, dropout=1)


def test_a_small_image_is_refused():
    with pytest.raises(ValueError, match="image_size is 16, expected at least 32"):
        build_model("vgg16", num_classes=2, image_size=16)


def test_more_event_frames_than_channels_allow_are_refused(images):
    model = build_model("vgg16", num_classes=2, width=0.1)
    with pytest.raises(ValueError, match=r"expected .*\[N, 3, 32, 32\]"):
        model(torch.stack([images, images]))
