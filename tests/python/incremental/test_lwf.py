"""The LwF loss against the same written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from eccsnn.data import Batch
from eccsnn.incremental import lwf
from eccsnn.nn import TaskHeads


class Net(torch.nn.Module):
    """Heads on four features; the features are the images themselves."""

    def __init__(self, tasks, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.norm = torch.nn.BatchNorm1d(4)
        self.head = TaskHeads(4, tasks)

    def forward(self, x):
        return self.head(self.norm(x))


def kl(teacher, student, temperature):
    p = (teacher / temperature).softmax(1)
    q = (student / temperature).log_softmax(1)
    return temperature**2 * (p * (p.log() - q)).sum(1).mean()


def setting(old_tasks, new):
    model = Net(old_tasks, 1)
    torch.manual_seed(2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    before = lwf.add_task(model, new, seed=3)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # the model has moved away from what it was
    cloud = Net([[5, 4, 3, 2, 1, 0]], 4).eval()  # logits in another order than the class ids
    images = torch.randn(6, 4)
    labels = torch.tensor([new[i % len(new)] for i in range(6)])
    return model, before, cloud, Batch(images, labels, torch.arange(6))


def test_the_loss_of_a_task_with_several_classes():
    model, before, cloud, batch = setting([[0, 1], [2, 3]], [4, 5])
    loss, terms = lwf.lwf_loss(
        before, cloud, [4, 5], logit_weight=0.7, temperature=3.0, lwf_weight=0.4, lwf_temperature=2.0
    )(model, batch)
    now, old, taught = model(batch.images), before(batch.images), cloud(batch.images)
    cross_entropy = F.cross_entropy(now[:, 4:], batch.labels - 4)
    distilled = kl(taught[:, [1, 0]], now[:, 4:], 3.0)  # the cloud's columns of the classes 4 and 5
    kept = kl(old[:, :2], now[:, :2], 2.0) + kl(old[:, 2:], now[:, 2:4], 2.0)  # a softmax over each head of its own
    torch.testing.assert_close(terms["cross_entropy"], cross_entropy)
    torch.testing.assert_close(terms["logit_distillation"], distilled)
    torch.testing.assert_close(terms["lwf"], kept)
    torch.testing.assert_close(loss, cross_entropy + 0.7 * distilled + 0.4 * kept)


def test_the_loss_of_a_task_with_one_class_runs_over_all_logits():
    model, before, cloud, batch = setting([[0, 1], [2]], [3])
    _, terms = lwf.lwf_loss(before, cloud, [3])(model, batch)
    now, old, taught = model(batch.images), before(batch.images), cloud(batch.images)
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(now, batch.labels))
    torch.testing.assert_close(terms["logit_distillation"], kl(taught[:, [5, 4, 3, 2]], now, 3.0))
    torch.testing.assert_close(terms["lwf"], kl(old, now[:, :3], 2.0))  # one old head has one class: all together


def test_only_the_model_learns_and_what_it_was_stays():
    model, before, cloud, batch = setting([[0, 1]], [2, 3])
    statistics = before.norm.running_mean.clone()
    loss, _ = lwf.lwf_loss(before, cloud, [2, 3])(model, batch)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad is None for p in (*before.parameters(), *cloud.parameters()))
    assert torch.equal(before.norm.running_mean, statistics)  # evaluation mode: its batch norm saw nothing


def test_terms_of_weight_zero_are_left_out():
    model, before, _, batch = setting([[0, 1]], [2, 3])
    loss, terms = lwf.lwf_loss(before, None, [2, 3], logit_weight=0, lwf_weight=0)(model, batch)
    assert terms.keys() == {"cross_entropy"}
    assert loss is terms["cross_entropy"]


def test_distilling_without_a_cloud_is_an_error():
    _, before, _, _ = setting([[0, 1]], [2, 3])
    with pytest.raises(ValueError, match="there is no cloud"):
        lwf.lwf_loss(before, None, [2, 3], logit_weight=0.5)


def test_every_new_head_starts_from_its_own_weights():
    model = Net([[0, 1]], 1)
    for classes in ([2, 3], [4, 5]):
        lwf.add_task(model, classes, seed=7)
    second, third = list(model.head.heads)[1:]
    assert not torch.equal(second.weight, third.weight)
    again = Net([[0, 1]], 1)
    lwf.add_task(again, [2, 3], seed=7)
    assert torch.equal(again.head.heads[1].weight, second.weight)
