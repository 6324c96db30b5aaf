import numpy as np
import pytest
import torch

from eccsnn.data import Batch, ImageSet, Splits
from eccsnn.models import build_model
from eccsnn.systems import ecc_snn
from eccsnn.training import FitOptions, train_classifier

DISTILLATION = {
    "logit_weight": 0.5,
    "temperature": 3.0,
    "feature_weight": 0.2,
    "feature_order": "time_first",
    "student_map": "conv_last",
    "teacher_map": "pool3",
}
CLOUD = {"name": "vgg16", "width": 0.0625}
EDGE = {"name": "spiking_vgg9", "width": 0.0625, "timesteps": 2}
TRAINING = {"epochs": 3, "batch_size": 20, "lr": 2e-3}


def make_splits(classes=4, count=80):
    rng = np.random.default_rng(0)

    def part(n):
        labels = np.arange(n) % classes
        pixels = rng.integers(0, 60, (n, 3, 32, 32))
        for i, label in enumerate(labels):  # a bright quarter tells the class
            y, x = divmod(int(label), 2)
            pixels[i, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] += 150
        return ImageSet(pixels.astype(np.uint8), labels)

    return Splits("toy", tuple("abcd"[:classes]), part(count), part(16), part(16), (0.3,) * 3, (0.25,) * 3, "toy")


@pytest.fixture(scope="module")
def splits():
    return make_splits()


@pytest.fixture(scope="module")
def cloud():
    torch.manual_seed(0)
    return build_model(num_classes=4, image_size=32, **CLOUD).eval()


def batch(splits, classes):
    keep = np.isin(splits.train.labels, classes)
    images = torch.from_numpy(splits.train.images[keep][:16]).float() / 128 - 1
    return Batch(images, torch.from_numpy(splits.train.labels[keep][:16]), torch.arange(16))


def edge_model(tasks=((0, 1),)):
    torch.manual_seed(1)
    return build_model(tasks=[list(t) for t in tasks], image_size=32, **EDGE)


@pytest.mark.parametrize("order", ["time_first", "per_timestep"])
def test_the_feature_term_alone_reaches_every_parameter_before_the_matched_layer(splits, cloud, order):
    edge = edge_model()
    term = ecc_snn.feature_distillation(
        edge, cloud, 32, feature_order=order, student_map="conv_last", teacher_map="pool3"
    )
    data = batch(splits, (0, 1))
    spikes = edge.forward_features(data.images).maps["conv_last"]
    with torch.no_grad():
        target = cloud.forward_features(data.images).maps["pool3"]
    term(spikes, target).backward()
    reached = {name for name, p in edge.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # the matched map is the last convolutional one: everything but the fully connected layers and the head lies before
    before = {name for name, _ in edge.named_parameters() if name.startswith(("stem.", "convs."))}
    assert len(before) == 3 * 7  # a convolution and a batch norm's weight and bias for each of VGG-9's seven
    assert before <= reached
    assert all(p.grad is None for p in cloud.parameters())
    assert all(p.grad is None for p in edge.head.parameters())


@pytest.mark.parametrize("order", ["time_first", "per_timestep"])
def test_the_feature_term_goes_down_when_it_is_trained_alone(splits, cloud, order):
    edge = edge_model()
    term = ecc_snn.feature_distillation(
        edge, cloud, 32, feature_order=order, student_map="conv_last", teacher_map="pool3"
    )
    data = batch(splits, (0, 1))
    with torch.no_grad():
        target = cloud.forward_features(data.images).maps["pool3"]
    optimizer = torch.optim.Adam([*edge.parameters()], lr=3e-3)  # the student alone: the projection stays as it is
    losses = []
    for _ in range(25):
        loss = term(edge.forward_features(data.images).maps["conv_last"], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < 0.97 * losses[0]


def test_joint_loss_is_the_weighted_sum_and_leaves_the_teacher_alone(splits, cloud):
    edge = edge_model()
    term = ecc_snn.feature_distillation(
        edge, cloud, 32, feature_order="time_first", student_map="conv_last", teacher_map="pool3"
    )
    loss, terms = ecc_snn.joint_loss(cloud, term, **DISTILLATION)(edge, batch(splits, (0, 1)))
    expected = terms["cross_entropy"] + 0.5 * terms["logit_distillation"] + 0.2 * terms["feature_distillation"]
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is None for p in cloud.parameters())


def test_terms_of_weight_zero_do_not_run_the_teacher(splits, cloud):
    calls = []
    handle = cloud.register_forward_hook(lambda *_: calls.append(1))
    original = cloud.forward_features
    cloud.forward_features = lambda x: calls.append(1) or original(x)
    try:
        off = DISTILLATION | {"logit_weight": 0, "feature_weight": 0}
        _, terms = ecc_snn.joint_loss(cloud, None, **off)(edge_model(), batch(splits, (0, 1)))
    finally:
        del cloud.forward_features
        handle.remove()
    assert not calls
    assert set(terms) == {"cross_entropy"}


def test_distilling_from_nothing_is_an_error():
    with pytest.raises(ValueError, match="there is no cloud"):
        ecc_snn.joint_loss(None, None, **DISTILLATION)


def test_setup_execution_and_update_learn(splits):
    cloud, result = train_classifier(splits, model=CLOUD, training=TRAINING | {"epochs": 6}, seed=0)
    assert result.records[-1]["loss"] < result.records[0]["loss"]
    edge, result = ecc_snn.train_edge(
        splits, (0, 1), cloud, model=EDGE, training=TRAINING | {"epochs": 8}, distillation=DISTILLATION, seed=0
    )
    assert {"feature_distillation", "logit_distillation", "val_accuracy"} <= result.records[0].keys()
    assert result.records[-1]["loss"] < result.records[0]["loss"]
    assert all(p.requires_grad for p in cloud.parameters())  # the teacher was used, not changed
    before = {k: v.clone() for k, v in edge.state_dict().items()}
    update = {"logit_weight": 0.5, "temperature": 3.0, "lwf_weight": 0.5, "lwf_temperature": 2.0, "seed": 0}
    updated, result = ecc_snn.update_edge(edge, cloud, splits, (2, 3), training=TRAINING, **update)
    assert updated.head.class_ids == [0, 1, 2, 3]
    assert {"cross_entropy", "logit_distillation", "lwf"} <= result.records[0].keys()
    assert all(torch.equal(v, before[k]) for k, v in edge.state_dict().items())  # the old model is untouched


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_update_of_one_class_trains(splits, cloud, precision):
    update = {
        "logit_weight": 0.5,
        "temperature": 3.0,
        "lwf_weight": 0.5,
        "lwf_temperature": 2.0,
        "seed": 0,
        "options": FitOptions(precision=precision),
    }
    updated, result = ecc_snn.update_edge(edge_model(), cloud, splits, (2,), training=TRAINING, **update)
    assert updated.head.class_ids == [0, 1, 2]
    assert result.records[0]["cross_entropy"] > 0  # over one logit alone it would be 0
    again, result = ecc_snn.update_edge(
        updated, None, splits, (3,), training=TRAINING, **(update | {"logit_weight": 0})
    )
    assert "logit_distillation" not in result.records[0]
    assert again.head.class_ids == [0, 1, 2, 3]


def test_co_inference_by_hand():
    # samples: sure and right, sure and wrong, unsure and wrong, unsure and of a class the edge does not know
    edge = np.array([[9.0, 0.0], [9.0, 0.0], [0.1, 0.0], [0.0, 0.1]], np.float32)
    cloud = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    labels = np.array([0, 1, 1, 2])
    out = ecc_snn.co_inference(edge, cloud, labels, [[0, 1]], [0, 1, 2], thresholds=3)
    assert out["edge_correct"].tolist() == [True, False, False, False]
    assert out["cloud_correct"].all()
    curve = out["curves"]["entropy"]
    assert curve.threshold.tolist() == [0.0, 0.5, 1.0]
    assert curve.upload_rate.tolist() == [1.0, 0.5, 0.0]
    assert curve.accuracy.tolist() == [1.0, 0.75, 0.25]


def test_a_trunk_from_torchvision_can_be_the_cloud(splits, monkeypatch):
    import torchvision

    real = torchvision.models.get_model
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights=None, **k: real(name, weights=None, **k))
    model = {"name": "torchvision/mobilenet_v3_small", "pretrained": True, "freeze_trunk": True}
    cloud, result = train_classifier(splits, model=model, training={"epochs": 1, "batch_size": 20, "lr": 1e-2}, seed=0)
    assert result.records[0]["loss"] > 0
    assert [name for name, p in cloud.named_parameters() if p.requires_grad] == [
        "head.heads.0.weight",
        "head.heads.0.bias",
    ]
