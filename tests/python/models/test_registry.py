import pytest

from eccsnn.models import build_model, list_models, scale_channels


def test_the_list_names_every_model_once():
    names = [info.name for info in list_models()]
    assert len(set(names)) == len(names)
    assert {"spiking_vgg9", "sew_resnet18", "spikformer", "vgg16", "vit_b16", "timm/<name>"} <= set(names)
    assert all(info.description and info.kind in ("snn", "ann") for info in list_models())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spiking_vg9", {"num_classes": 2}, "unknown model 'spiking_vg9': did you mean 'spiking_vgg9'"),
        ("vgg16", {}, "expected exactly one of them"),
        ("vgg16", {"num_classes": 2, "tasks": [[0]]}, "expected exactly one of them"),
        ("vgg16", {"num_classes": 0}, "num_classes is 0"),
        ("vgg16", {"num_classes": 2, "width": 0}, "width is 0, expected a number above 0"),
        ("vgg16", {"num_classes": 2, "width": float("nan")}, "width is nan"),
        ("vgg16", {"num_classes": 2, "in_channels": 0}, "in_channels is 0"),
        ("vgg16", {"num_classes": 2, "image_size": 32.0}, "image_size is 32.0"),
        ("vgg16", {"num_classes": 2, "droput": 0.5}, "unknown option 'droput': did you mean 'dropout'"),
        ("resnet18", {"num_classes": 2, "norm_gain": 2.0}, "unknown option 'norm_gain': known: stem_stride"),
        ("vgg16", {"num_classes": 2, "neuron": {"tau": 2.0}}, "vgg16 is an ANN"),
        ("vgg16", {"num_classes": 2, "pretrained": True}, "vgg16 has no pretrained weights.*torchvision/resnet18"),
        ("spiking_vgg9", {"num_classes": 2, "timesteps": 0}, "timesteps is 0"),
        ("spiking_vgg9", {"num_classes": 2, "neuron": {"v_tresh": 2.0}}, "unknown neuron key 'v_tresh'"),
        ("spiking_vgg9", {"num_classes": 2, "neuron": {"surrogate": "atn"}}, "did you mean 'atan'"),
    ],
)
def test_wrong_arguments_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, **options)


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(64, 1.0, 64), (64, 0.25, 16), (64, 0.01, 8), (96, 0.3, 32), (48, 2.0, 96)]
)
def test_channels_scale_to_multiples_of_eight(channels, width, expected):
    assert scale_channels(channels, width) == expected


def test_tasks_become_heads():
    model = build_model("spiking_vgg9", tasks=[[4, 2], [0]], width=0.1)
    assert model.head.class_ids == [4, 2, 0]
    assert model.spec["tasks"] == [[4, 2], [0]]
