import pytest
import torch

from eccsnn.nn import ExitHead, TaskHeads


def test_logits_stand_in_the_order_of_the_tasks():
    heads, features = TaskHeads(6, [[3, 1], [0]]), torch.randn(4, 6)
    logits = heads(features)
    assert heads.class_ids == [3, 1, 0]
    assert heads.tasks == [(3, 1), (0,)]
    torch.testing.assert_close(logits[:, 2:], heads.heads[1](features))
    first, second = heads.split(logits)
    assert first.shape == (4, 2)
    assert second.shape == (4, 1)
    assert torch.equal(torch.cat([first, second], 1), logits)


def test_features_may_have_a_time_dimension():
    assert TaskHeads(6, [[0, 1]])(torch.zeros(5, 4, 6)).shape == (5, 4, 2)


def test_a_new_task_leaves_the_old_logits_as_they_are():
    heads, features = TaskHeads(6, [[0, 1]]).double(), torch.randn(4, 6, dtype=torch.float64)
    before = heads(features)
    new = heads.add_task([5, 2])
    after = heads(features)
    assert torch.equal(after[:, :2], before)
    assert new.weight.dtype == torch.float64
    assert after.shape == (4, 4)
    assert heads.class_ids == [0, 1, 5, 2]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "no task given"),
        ([[0], []], "a task has no class"),
        ([[0, 0]], "repeated class ids"),
        ([[0, 1], [1, 2]], "known already: \\[0, 1\\]"),
        ([[-1]], "negative"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        TaskHeads(4, tasks)


def test_a_refused_task_changes_nothing():
    heads = TaskHeads(4, [[0, 1]])
    with pytest.raises(ValueError, match="repeated"):
        heads.add_task([2, 1])
    assert heads.class_ids == [0, 1]
    assert len(heads.heads) == 1


def test_wrong_sizes_are_refused():
    heads = TaskHeads(4, [[0, 1]])
    with pytest.raises(ValueError, match=r"expected \[..., 4\]"):
        heads(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"expected \[..., 2\]"):
        heads.split(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="in_features is 0"):
        TaskHeads(0, [[0]])


def test_an_exit_head_sees_the_rates_over_space():
    head = ExitHead(3, [[0, 1], [2]])
    spikes = (torch.rand(4, 2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    logits = head(spikes)
    assert logits.shape == (4, 2, 3)
    torch.testing.assert_close(logits, head.head(spikes.mean((-2, -1))))
    torch.testing.assert_close(head(spikes[1]), logits[1])
    # 121 of 196 is no bfloat16 number.
    many = torch.zeros(1, 1, 3, 14, 14, dtype=torch.bfloat16)
    many.view(-1)[:121] = 1
    with torch.no_grad():
        rates = torch.tensor([121 / 196, 0, 0])
        torch.testing.assert_close(head(many)[0, 0], head.head(rates), rtol=1e-6, atol=1e-6)
