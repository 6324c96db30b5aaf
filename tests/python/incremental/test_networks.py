"""Learners that train a network, on handwritten digits in two tasks."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eccsnn.data import batches, load_dataset, restrict
from eccsnn.errors import CheckpointError
from eccsnn.incremental import lwf
from eccsnn.incremental.bic import BiasCorrection, fit_correction
from eccsnn.incremental.networks import FineTune, Joint, LwF
from eccsnn.incremental.registry import build_learner, learner_info, list_learners
from eccsnn.incremental.replay import ExemplarLearner, ExperienceReplay, ICaRL, WeightAligning, herd
from eccsnn.training import cross_entropy, fit
from eccsnn.training.classifier import build_seeded

TASKS = ((0, 1, 2), (3, 4))
EPOCHS = 10


@pytest.fixture(scope="module")
def setting():
    """Digits at 16 px and a small network that knows the first task."""
    splits = load_dataset("digits", image_size=16, val_fraction=0.1, subset={"train": 600, "test": 250}, seed=0)
    model = build_seeded(
        0, name="spiking_vgg9", tasks=[TASKS[0]], image_size=16, width=0.125, timesteps=2, norm_gain=2.0
    )
    train(model, restrict(splits.train, TASKS[0]), splits)
    return splits, model.eval()


def train(model, images, splits, epochs=10):
    def loss(net, batch):
        return cross_entropy(net(batch.images), batch.labels, net.head.class_ids), {}

    fit(model, images, loss, mean=splits.mean, std=splits.std, epochs=epochs, batch_size=32, lr=2e-3)


@pytest.fixture(scope="module")
def fine_tuned(setting):
    return taught(FineTune, setting)


def make(kind, setting, epochs=EPOCHS, **options):
    splits, model = setting
    training = {"epochs": epochs, "batch_size": 32, "lr": 2e-3}
    return kind(model, mean=splits.mean, std=splits.std, training=training, seed=1, **options)


def taught(kind, setting, **options):
    learner = make(kind, setting, **options)
    for task in TASKS:
        part = restrict(setting[0].train, task)
        learner.observe(part.images, part.labels)
    return learner


def accuracies(learner, setting):
    tests = [restrict(setting[0].test, task) for task in TASKS]
    return [float((learner.predict(test.images) == test.labels).mean()) for test in tests]


def test_fine_tuning_forgets_and_joint_training_does_not(setting, fine_tuned):
    old, new = accuracies(fine_tuned, setting)
    assert new > 0.8
    kept_old, kept_new = accuracies(taught(Joint, setting), setting)
    assert kept_old > old + 0.2
    assert kept_old > 0.85
    assert kept_new > 0.6


def test_replay_forgets_less_than_fine_tuning(setting, fine_tuned):
    old, _ = accuracies(fine_tuned, setting)
    learner = taught(ExperienceReplay, setting, exemplars=60)
    kept, new = accuracies(learner, setting)
    assert kept > old + 0.2
    assert new > 0.5
    assert learner.memory_bytes == 60 * 3 * 16 * 16


def kl(before, now, temperature):
    """KL(before || now) of logits at a temperature, by hand."""
    p, q = (before / temperature).softmax(1), (now / temperature).log_softmax(1)
    return (p * (p.log() - q)).sum(1).mean()


def loss_of(kind, setting, **options):
    """A learner's loss and its terms in the third task, the batch, and the logits before and now, all by hand.

    Old heads have three and two classes, the new one two, and the network has moved away from what it was.
    """
    learner = make(kind, setting, **options)
    lwf.add_task(learner.model, TASKS[1], seed=5)
    model = copy.deepcopy(learner.model)
    before = lwf.add_task(model, (6, 5), seed=6)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    seen = (5, 6) if kind is LwF else (0, 3, 5, 6)  # it keeps no image of old classes
    images = restrict(setting[0].train, seen).take(range(24))
    (batch,) = batches(images, 24, mean=learner.mean, std=learner.std)
    if kind is BiasCorrection:
        learner._corrections = [(1.0, 0.0), (0.5, -2.0)]
    with torch.no_grad():
        loss, terms = learner._loss(before, (6, 5))(model, batch)
        places = torch.tensor([[0, 1, 2, 3, 4, 6, 5][label] for label in batch.labels.tolist()])
        return learner, loss, terms, batch, places, before(batch.images), model(batch.images)


def test_fine_tuning_joint_training_and_replay_see_the_cross_entropy_of_all_logits(setting):
    for kind in (FineTune, Joint, ExperienceReplay):
        _, loss, _, _, places, _, now = loss_of(kind, setting)
        torch.testing.assert_close(loss, F.cross_entropy(now, places))


def test_the_loss_of_lwf_has_the_cloud_and_the_old_heads(setting):
    cloud = build_seeded(3, name="resnet18", num_classes=10, image_size=16, width=0.0625).eval()
    with torch.no_grad():
        cloud.head.heads[0].weight.mul_(20)  # far from uniform
    weights = {"logit_weight": 0.7, "temperature": 4.0, "lwf_weight": 0.4, "lwf_temperature": 1.5}
    _, loss, _, batch, places, before, now = loss_of(LwF, setting, cloud=cloud, **weights)
    with torch.no_grad():
        taught = cloud(batch.images)[:, [6, 5]]
    old = [kl(before[:, part], now[:, part], 1.5) for part in (slice(0, 3), slice(3, 5))]
    expected = F.cross_entropy(now[:, 5:], places - 5) + 0.7 * 16 * kl(taught, now[:, 5:], 4.0)
    torch.testing.assert_close(loss, expected + 0.4 * 2.25 * sum(old))


def test_the_loss_of_icarl_is_that_of_sigmoids_with_distillation(setting):
    """Its algorithm 3: every old class distils from what the network said before, every new one learns its label."""
    _, loss, _, _, places, before, now = loss_of(ICaRL, setting)
    targets = torch.cat((before.sigmoid(), F.one_hot(places, 7).float()[:, 5:]), dim=1)
    by_hand = -(targets * now.sigmoid().log() + (1 - targets) * (1 - now.sigmoid()).log()).sum(1).mean()
    torch.testing.assert_close(loss, by_hand)


def test_the_loss_of_weight_aligning_weighs_distillation_by_the_share_of_old_classes(setting):
    _, loss, _, _, places, before, now = loss_of(WeightAligning, setting)
    expected = 2 / 7 * F.cross_entropy(now, places) + 5 / 7 * kl(before, now[:, :5], 2.0)
    torch.testing.assert_close(loss, expected)


def test_the_loss_of_bic_distils_from_corrected_logits(setting):
    """Wu et al., eqs. 1 to 3, with old logits as the last task's corrections leave them, on both sides."""
    _, loss, _, _, places, before, now = loss_of(BiasCorrection, setting)
    before, corrected = before.clone(), now.clone()
    for logits in (before, corrected):
        logits[:, 3:5] = 0.5 * logits[:, 3:5] - 2.0
    expected = 2 / 7 * F.cross_entropy(corrected, places) + 5 / 7 * kl(before, corrected[:, :5], 2.0)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("kind", [ICaRL, WeightAligning])
def test_exemplars_are_herded(setting, kind):
    learner = make(kind, setting, exemplars=15)
    first = restrict(setting[0].train, TASKS[0])
    learner.observe(first.images, first.labels)
    for class_id in TASKS[0]:
        own = restrict(first, (class_id,))
        chosen = herd(learner._features(own), 5)
        assert chosen != [0, 1, 2, 3, 4]
        kept = learner._memory.images[learner._memory.labels == class_id]
        np.testing.assert_array_equal(kept, own.images[chosen])


def test_lwf_forgets_less_than_fine_tuning(setting, fine_tuned):
    with pytest.raises(ValueError, match="there is no cloud"):
        make(LwF, setting)
    cloud = build_seeded(3, name="vgg16", num_classes=10, image_size=32, width=0.0625)
    assert make(LwF, setting, cloud=cloud).cloud is not cloud
    old, new = accuracies(taught(LwF, setting, logit_weight=0.0, lwf_weight=2.0), setting)
    forgot, _ = accuracies(fine_tuned, setting)
    assert old > forgot
    assert new > 0.3


def test_icarl_predicts_by_the_mean_of_its_exemplars(setting):
    learner = taught(ICaRL, setting, exemplars=60)
    old, new = accuracies(learner, setting)
    assert old > 0.6
    assert new > 0.6
    memory = learner._memory
    assert [int((memory.labels == c).sum()) for c in learner.classes] == [12] * 5
    test = restrict(setting[0].test, TASKS[1])
    features, kept = learner._features(test), learner._features(memory)
    means = np.stack([kept[memory.labels == c].mean(0) for c in learner.classes])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    distances = np.square(features[:, None] - means).sum(2)
    np.testing.assert_allclose(learner.scores(test.images), -distances / 2, atol=1e-9)
    with pytest.raises(ValueError, match="no exemplars yet"):
        make(ICaRL, setting).predict(test.images)


def test_herding_comes_nearer_to_the_mean_than_chance():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 10))
    chosen = herd(features, 15)
    assert len(set(chosen)) == 15
    distance = np.linalg.norm(features[chosen].mean(0) - features.mean(0))
    by_chance = [np.linalg.norm(features[rng.permutation(200)[:15]].mean(0) - features.mean(0)) for _ in range(50)]
    assert distance < min(by_chance)
    assert herd(features, 5) == chosen[:5]
    assert sorted(herd(features[:3], 9)) == [0, 1, 2]


def test_weight_aligning_gives_new_classes_the_norm_of_old_ones(setting, fine_tuned):
    learner = taught(WeightAligning, setting, exemplars=100)
    old, new = learner.model.head.heads
    norms = [head.weight.norm(dim=1).mean() for head in (old, new)]
    assert torch.allclose(norms[0], norms[1], rtol=1e-5)
    kept, _ = accuracies(learner, setting)
    forgot, _ = accuracies(fine_tuned, setting)
    assert kept > forgot


def test_bic_takes_back_the_bias_towards_new_classes(setting, fine_tuned):
    """What its source shows: after replay of a few exemplars too many answers are new classes, and two numbers fitted
    on a small balanced part mend it."""
    learner = taught(BiasCorrection, setting, exemplars=60)
    test = setting[0].test
    known = test.take(np.flatnonzero(np.isin(test.labels, learner.classes)))
    corrections = learner.corrections
    assert corrections[0] == (1.0, 0.0)
    corrected = learner.predict(known.images)
    learner._corrections[1] = (1.0, 0.0)
    plain = learner.predict(known.images)
    truth = np.isin(known.labels, TASKS[1]).mean()
    assert np.isin(plain, TASKS[1]).mean() > truth + 0.02
    assert np.isin(corrected, TASKS[1]).mean() < np.isin(plain, TASKS[1]).mean()
    accuracy, without = ((answer == known.labels).mean() for answer in (corrected, plain))
    assert accuracy > without
    forgot, _ = accuracies(fine_tuned, setting)
    learner._corrections[1] = corrections[1]
    kept, _ = accuracies(learner, setting)
    assert kept > forgot + 0.2


def test_bic_holds_back_a_balanced_part_and_trains_on_none_of_it(setting):
    learner = make(BiasCorrection, setting, exemplars=60)
    first, second = (restrict(setting[0].train, task) for task in TASKS)
    learner.observe(first.images, first.labels)
    data = learner._data(second)
    held = learner._held
    assert {c: int((held.labels == c).sum()) for c in range(5)} == dict.fromkeys(range(5), 2)  # a tenth of 20 each
    pixels = {image.tobytes() for image in held.images}
    assert not pixels & {image.tobytes() for image in data.images}
    assert len(data) + len(held) == len(second) + 60
    learner = make(BiasCorrection, setting, exemplars=3, epochs=1)  # one of each class: nothing to hold back
    for part in (first, second):
        learner.observe(part.images, part.labels)
    assert learner.corrections == ((1.0, 0.0), (1.0, 0.0))


def test_the_correction_is_the_minimum_of_its_loss():
    """Labels drawn from known numbers give them back, and no other pair has a smaller cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20000, 6, generator=generator, dtype=torch.float64)
    true = torch.cat((logits[:, :4], 0.6 * logits[:, 4:] - 1.5), dim=1)
    targets = torch.multinomial(true.softmax(1), 1, generator=generator)[:, 0]
    alpha, beta = fit_correction(logits, targets, 2)
    assert alpha == pytest.approx(0.6, abs=0.05)
    assert beta == pytest.approx(-1.5, abs=0.1)

    def loss(a, b):
        return float(torch.nn.functional.cross_entropy(torch.cat((logits[:, :4], a * logits[:, 4:] + b), 1), targets))

    assert all(loss(alpha, beta) <= loss(alpha + a, beta + b) for a in (-0.02, 0, 0.02) for b in (-0.02, 0, 0.02))


def test_a_state_of_bic_is_checked(setting):
    learner = taught(BiasCorrection, setting, epochs=1, exemplars=60)
    state = learner.state_dict()
    for corrections in (None, torch.ones(3, 2), torch.full((2, 2), float("nan"))):
        changed = {name: tensor for name, tensor in state.items() if name != "corrections"}
        if corrections is not None:
            changed["corrections"] = corrections
        with pytest.raises(CheckpointError, match=r"expected finite numbers \[2, 2\] of 2 heads"):
            learner.load_state_dict(changed)
        assert torch.equal(learner.state_dict()["corrections"], state["corrections"])


@pytest.mark.parametrize("kind", [FineTune, Joint, ExperienceReplay, ICaRL, WeightAligning, BiasCorrection])
def test_states_go_on(setting, kind):
    options = {"exemplars": 20} if issubclass(kind, ExemplarLearner) else {}
    learner = taught(kind, setting, epochs=1, **options)
    other = make(kind, setting, **options)
    other.load_state_dict(learner.state_dict())
    test = setting[0].test.images[:20]
    np.testing.assert_array_equal(other.scores(test), learner.scores(test))
    assert other.memory_bytes == learner.memory_bytes
    with pytest.raises(CheckpointError, match="no entry 'tasks'"):
        other.load_state_dict({})
    with pytest.raises(CheckpointError, match=r"expected images and labels|that FineTune has not"):
        other.load_state_dict(learner.state_dict() | {"strange": torch.zeros(1)})
    state = learner.state_dict()
    state["tasks"] = torch.tensor([1, 2, 5, 6])
    with pytest.raises(CheckpointError, match="expected them to begin with"):
        other.load_state_dict(state)
    np.testing.assert_array_equal(other.scores(test), learner.scores(test))


@pytest.mark.parametrize("kind", [FineTune, ICaRL])
def test_a_broken_state_is_refused_and_changes_nothing(setting, kind):
    learner = make(kind, setting)
    first = restrict(setting[0].train, TASKS[0])
    learner.observe(first.images, first.labels)
    state = learner.state_dict()
    name = next(name for name in state if name.startswith("model.head"))
    test = setting[0].test.images[:20]
    scores = learner.scores(test)
    changes = [
        ({"tasks": torch.zeros(0, dtype=torch.int64)}, "the state's tasks are"),
        ({"tasks": torch.tensor([1.0, 3, 0, 1, 2])}, "expected int64"),
        ({"tasks": torch.tensor([1, 3, 0, 1])}, "the number of its classes"),
        ({"tasks": torch.tensor([1, 3, 0, 1, 2, 1, 2])}, "each id once"),
        ({"tasks": torch.tensor([7, 3, 0, 1, 2])}, "0 or 1"),
        ({"tasks": torch.tensor([1, 3, 0, 1, 2, 1, 9])}, "does not fit"),
        ({name: torch.full_like(state[name], float("nan"))}, "hold NaN or infinite"),
        ({name: state[name][:1]}, "does not fit"),
    ]
    if kind is ICaRL:
        changes += [
            ({"images": state["images"].float()}, "expected uint8"),
            ({"labels": state["labels"][1:]}, r"int64 \[\d+\], expected uint8"),
        ]
    for change, message in changes:
        with pytest.raises(CheckpointError, match=message):
            learner.load_state_dict({**state, **change})
        np.testing.assert_array_equal(learner.scores(test), scores)
    with pytest.raises(CheckpointError, match="does not fit"):
        learner.load_state_dict({key: value for key, value in state.items() if key != name})


def test_work_is_counted(setting, fine_tuned):
    learner = taught(LwF, setting, epochs=2, logit_weight=0.0)
    images = len(restrict(setting[0].train, TASKS[1]))
    assert learner.work.trained_samples == 2 * images
    assert learner.work.forward_samples == 2 * images
    assert fine_tuned.work.forward_samples == 0


def test_the_time_that_the_cloud_takes_is_kept_apart(setting, monkeypatch):
    cloud = build_seeded(3, name="resnet18", num_classes=10, image_size=16, width=0.0625)
    learner = make(LwF, setting, epochs=1, cloud=cloud)
    ticks = itertools.count()
    monkeypatch.setattr(learner, "_now", lambda: next(ticks))  # from one look at the clock to the next: 1
    for task in TASKS:
        part = restrict(setting[0].train, task)
        learner.observe(part.images, part.labels)
    assert learner.cloud_seconds == -(-len(part) // 32)  # one a batch
    assert taught(LwF, setting, epochs=1, logit_weight=0.0).cloud_seconds == 0


def test_the_network_that_was_given_stays_as_it_is(setting):
    before = {name: tensor.clone() for name, tensor in setting[1].state_dict().items()}
    taught(FineTune, setting, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in setting[1].state_dict().items())


def test_bad_tasks(setting, fine_tuned):
    learner = fine_tuned
    known, none = restrict(setting[0].train, (3, 4)), setting[0].train.take([])
    with pytest.raises(ValueError, match=r"classes \[3, 4\] are learnt already"):
        learner.observe(known.images, known.labels)
    with pytest.raises(ValueError, match="there are no images"):
        learner.observe(none.images, none.labels)
    with pytest.raises(ValueError, match="labels have shape"):
        learner.observe(known.images, known.labels[:-1])
    with pytest.raises(ValueError, match="exemplars is 0"):
        make(ICaRL, setting, exemplars=0)
    assert learner.classes == (0, 1, 2, 3, 4)


def test_the_registry():
    names = [info.name for info in list_learners()]
    assert len(set(names)) == len(names) == 15
    assert learner_info("lwf").takes == "images"
    assert build_learner("ncm", 4).takes == "features"
    with pytest.raises(ValueError, match="unknown learner 'exact_rigde': did you mean 'exact_ridge'"):
        build_learner("exact_rigde", 4, 4)


def test_data_is_augmented_no_more_than_asked(setting):
    """Learners hand their images to `fit` as they are: a join keeps order and labels."""
    learner = taught(Joint, setting, epochs=1)
    seen = learner._seen
    first, second = (restrict(setting[0].train, task) for task in TASKS)
    np.testing.assert_array_equal(seen.images, np.concatenate([first.images, second.images]))
    np.testing.assert_array_equal(seen.labels, np.concatenate([first.labels, second.labels]))
    assert sum(len(batch.labels) for batch in batches(seen, 64)) == len(seen)
