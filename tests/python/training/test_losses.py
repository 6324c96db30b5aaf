import pytest
import torch
import torch.nn.functional as F

from eccsnn.data import MixedLabels
from eccsnn.training.losses import FeatureDistillation, cross_entropy, logit_distillation


def test_cross_entropy_maps_class_ids():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([7, 2, 5, 2])
    expected = F.cross_entropy(logits, torch.tensor([2, 1, 0, 1]))
    assert cross_entropy(logits, labels, [5, 2, 7]) == expected


def test_cross_entropy_of_mixed_samples_is_that_to_soft_labels():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    mixed = MixedLabels(torch.tensor([2, 2, 7, 5]), torch.tensor([0.75, 0.5, 1.0, 0.0]))
    soft = torch.tensor([[0, 0.25, 0.75], [0, 1, 0], [1, 0, 0], [1, 0, 0]])
    found = cross_entropy(logits, torch.tensor([7, 2, 5, 2]), [5, 2, 7], mixed)
    torch.testing.assert_close(found, F.cross_entropy(logits, soft))
    with pytest.raises(ValueError, match="1"):
        cross_entropy(logits, torch.tensor([7, 2, 5, 1]), [5, 2, 7], mixed)


@pytest.mark.parametrize("order", ["time_first", "per_timestep"])
def test_feature_loss_is_the_mse_of_pooled_projection(order):
    torch.manual_seed(0)
    spikes = (torch.rand(4, 6, 8, 8, 8) < 0.3).float()
    teacher = torch.rand(6, 5, 4, 4)
    term = FeatureDistillation(8, 5, 8, 4, order).eval()
    with torch.no_grad():
        term.norm.running_mean.uniform_()
        term.norm.running_var.uniform_(0.5, 2)
    per_step = torch.stack([F.avg_pool2d(term.norm(term.project(x)), 2) for x in spikes]).mean(0)
    # In evaluation mode batch norm is affine, so both orders are the same map.
    torch.testing.assert_close(term(spikes, teacher), F.mse_loss(per_step, teacher), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["time_first", "per_timestep"])
def test_feature_loss_reaches_the_spikes_but_not_the_teacher(order):
    torch.manual_seed(0)
    spikes = (torch.rand(2, 3, 8, 4, 4) < 0.3).float().requires_grad_()
    teacher = torch.rand(3, 5, 4, 4, requires_grad=True)
    FeatureDistillation(8, 5, 4, 4, order)(spikes, teacher).backward()
    assert spikes.grad.abs().sum() > 0
    assert teacher.grad is None


def test_feature_loss_rejects_unknown_orders():
    with pytest.raises(ValueError, match="feature_order is 'spatial'"):
        FeatureDistillation(8, 8, 4, 4, "spatial")


def test_logit_distillation_restricts_the_teacher_to_the_students_classes():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 2), torch.randn(5, 4)
    # the teacher's logits stand for the classes 9, 3, 5, 1; the student knows 1 and 9
    value = logit_distillation(student, teacher, [1, 9], 3.0, teacher_ids=[9, 3, 5, 1])
    picked = teacher[:, [3, 0]]
    expected = 9 * F.kl_div(
        (student / 3).log_softmax(1), (picked / 3).log_softmax(1), reduction="batchmean", log_target=True
    )
    torch.testing.assert_close(value, expected)
