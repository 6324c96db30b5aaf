import sys
from pathlib import Path

import pytest
import torch

from eccsnn.errors import CheckpointError
from eccsnn.training import FitOptions, cross_entropy, fit
from eccsnn.training.loop import learning_rate

sys.path.insert(0, str(Path(__file__).parent))
from tiny import MEAN, STD, TinyNet, tiny_images


class StopError(Exception):
    """Stands for a kill at a given step."""


class StopAt:
    def __init__(self, epoch, step):
        self.at = (epoch, step)

    def step(self, epoch, epochs, step, steps, loss):
        if (epoch, step) == self.at:
            raise StopError

    def epoch(self, record):
        pass


def loss_function(model, batch):
    loss = cross_entropy(model(batch.images), batch.labels, model.head.class_ids)
    return loss, {"cross_entropy": loss}


def train(*, checkpoint=None, progress=None, precision="fp32", **arguments):
    model = TinyNet()
    arguments = {"epochs": 3, "batch_size": 8, "optimizer": "adam", **arguments}
    options = FitOptions(
        "crop_flip", precision=precision, checkpoint=checkpoint, checkpoint_seconds=1e-9, progress=progress
    )
    return model, fit(model, tiny_images(), loss_function, mean=MEAN, std=STD, options=options, **arguments)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def numbers(result):
    return [{k: v for k, v in r.items() if k not in ("seconds", "samples_per_second")} for r in result.records]


def test_learns():
    _, result = train(epochs=12, lr=1e-2)
    assert result.records[-1]["loss"] < 0.5 * result.records[0]["loss"]


def test_same_seed_same_weights_and_other_seed_others():
    a, b, c = train(seed=1)[0], train(seed=1)[0], train(seed=2)[0]
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("stop", [(1, 1), (1, 5), (2, 1), (3, 7)])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path, stop, optimizer):
    whole, expected = train(optimizer=optimizer)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(StopError):
        train(progress=StopAt(*stop), optimizer=optimizer, checkpoint=path)
    resumed, result = train(optimizer=optimizer, checkpoint=path)
    assert same(whole, resumed)
    assert numbers(result) == numbers(expected)


def test_resuming_a_finished_training_changes_nothing(tmp_path):
    path = tmp_path / "c"
    first, a = train(checkpoint=path)
    second, b = train(checkpoint=path)
    assert same(first, second)
    assert a.records == b.records


def test_best_validation_epoch_is_restored():
    scores = iter([0.2, 0.9, 0.5])
    seen = []

    def validate(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"val_accuracy": next(scores)}

    model, result = train(select="best_validation", validate=validate)
    assert result.selected_epoch == 2
    assert all(torch.equal(model.state_dict()[k], seen[1][k]) for k in seen[1])


def test_other_models_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    train(checkpoint=path)
    model = TinyNet(tasks=((0, 1), (2,)))
    with pytest.raises(CheckpointError, match="do not fit"):
        fit(model, tiny_images(), loss_function, mean=MEAN, std=STD, epochs=3, options=FitOptions(checkpoint=path))


def test_nan_loss_stops_with_advice():
    def broken(model, batch):
        loss, terms = loss_function(model, batch)
        return loss * float("nan"), terms

    with pytest.raises(ValueError, match=r"loss is nan at epoch 1, step 1.*learning rate"):
        fit(TinyNet(), tiny_images(), broken, mean=MEAN, std=STD, epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamw"}, "optimizer is 'adamw', expected one of adam, sgd"),
        ({"schedule": "linear"}, "schedule is 'linear'"),
        ({"select": "best_test"}, "select is 'best_test'"),
        ({"select": "best_validation"}, "there is no validation data"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_labels_without_logit_are_named():
    with pytest.raises(ValueError, match=r"labels \[3\] have no logit"):
        fit(TinyNet(), tiny_images(classes=4), loss_function, mean=MEAN, std=STD, epochs=1)


def test_a_last_batch_of_one_image_is_dropped():
    sizes = []

    def watched(model, batch):
        sizes.append(len(batch.labels))
        return loss_function(model, batch)

    fit(TinyNet(), tiny_images(count=17), watched, mean=MEAN, std=STD, epochs=1, batch_size=8)
    fit(TinyNet(), tiny_images(count=18), watched, mean=MEAN, std=STD, epochs=1, batch_size=8)
    assert sizes == [8, 8, 8, 8, 2]


def test_weights_that_become_nan_stop_a_training_whose_loss_stays_finite():
    model = TinyNet()
    model.register_buffer("hidden", torch.zeros(1))

    def poisoned(model, batch):
        model.hidden.fill_(float("nan"))  # as behind neurons, which do not fire on NaN
        return loss_function(model, batch)

    with pytest.raises(ValueError, match=r"after epoch 1: model\.hidden holds NaN"):
        fit(model, tiny_images(), poisoned, mean=MEAN, std=STD, epochs=2)


def test_learning_rate_schedules():
    assert learning_rate(1.0, "cosine", 0.0) == 1.0
    assert learning_rate(1.0, "cosine", 0.5) == pytest.approx(0.5)
    assert [learning_rate(1.0, "steps", p, (0.3, 0.6), 0.1) for p in (0.0, 0.3, 0.6)] == pytest.approx([1, 0.1, 0.01])
    assert learning_rate(0.3, "constant", 0.9) == 0.3
