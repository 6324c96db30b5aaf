"""A comparison of learners: its stages, its numbers, and its report."""

import json

import numpy as np
import pytest

from eccsnn.errors import ConfigError
from eccsnn.experiments import load_config, run_config
from eccsnn.experiments.live import load_splits
from eccsnn.incremental import metrics
from eccsnn.incremental.exact import ExactLearner
from eccsnn.report import build_report

NAME = "incremental/digits_debug"
TINY = [
    "data.subset={train: 160, val: 30, test: 60}",
    "trunk.training.epochs=3",
    "learners=[exact_ridge, exact_lda, acil, fine_tune, lwf, icarl]",
    "training.epochs=1",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs):
    return run_config(NAME, TINY, runs_dir=runs)


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished / "results.json").read_text())


def stages(path):
    return {stage["name"]: stage for stage in json.loads((path / "run.json").read_text())["stages"]}


def test_learners_share_trunk_and_features_and_one_more_computes_itself_alone(finished, runs):
    names = list(stages(finished))
    assert names[:3] == ["cloud", "trunk", "features"]
    learners = ("exact_ridge", "exact_lda", "acil", "fine_tune", "lwf", "icarl")
    assert names[3:] == [*(f"learner_{name}" for name in learners), "device"]
    more = run_config(NAME, [*TINY[:2], "learners=[exact_ridge, ncm, icarl]", "training.epochs=1"], runs_dir=runs)
    assert {name: stage["reused"] for name, stage in stages(more).items()} == {
        "cloud": True,
        "trunk": True,
        "features": True,
        "learner_exact_ridge": True,
        "learner_ncm": False,
        "learner_icarl": True,
        "device": True,
    }
    layered = run_config(NAME, [*TINY[:2], "learners=[ncm]", "trunk.layers=[conv_last, penultimate]"], runs_dir=runs)
    assert stages(layered)["trunk"]["reused"]
    assert not stages(layered)["features"]["reused"]


def test_results_follow_from_features(finished, results, runs):
    splits = load_splits(load_config(NAME, TINY))
    with np.load(runs / "stages" / "features" / stages(finished)["features"]["key"][:16] / "features.npz") as arrays:
        train, test, bound = arrays["train"], arrays["test"], int(arrays["max_count"])
    assert bound == 2
    learner = ExactLearner(train.shape[1], bound)
    tasks = results["scenario"]["tasks"]
    predictions = []
    for classes in tasks:
        chosen = np.isin(splits.train.labels, classes)
        learner.observe(train[chosen], splits.train.labels[chosen])
        predictions.append(learner.predict(test))
    expected = metrics.accuracy_matrix(predictions, splits.test.labels, tasks)
    result = results["learners"]["exact_ridge"]
    assert result["accuracy_matrix"] == expected
    assert result["last"] == pytest.approx((predictions[-1] == splits.test.labels).mean())
    assert result["memory_bytes"][-1] == learner.memory_bytes
    assert result["macs"][-1]["learner"] == learner.work.macs
    acil = results["learners"]["acil"]
    assert acil["last"] == pytest.approx(result["last"])  # the same ridge, another way there


def test_work_of_networks_is_counted(results):
    images = sum(
        int(np.isin(load_splits(load_config(NAME, TINY)).train.labels, classes).sum())
        for classes in results["scenario"]["tasks"][1:]
    )
    dense = results["trunk"]["dense_macs_per_image"]
    assert results["learners"]["fine_tune"]["update_macs"] == pytest.approx(3 * dense * images)
    assert results["learners"]["lwf"]["update_macs"] == pytest.approx(4 * dense * images)
    assert results["learners"]["lwf"]["update_cloud_macs"] > 0
    assert results["learners"]["fine_tune"]["update_cloud_macs"] == 0
    assert results["learners"]["lwf"]["update_cloud_seconds"] > 0
    assert results["learners"]["fine_tune"]["update_cloud_seconds"] == 0
    exact, tuned = results["learners"]["exact_ridge"], results["learners"]["fine_tune"]
    assert 0 < exact["update_macs"] < tuned["update_macs"]
    assert exact["update_energy_mj"]["provenance"] == "modelled"
    for result in results["learners"].values():
        assert len(result["validation_seen_accuracy"]) == 3
        assert all(0 <= value <= 1 for value in result["validation_seen_accuracy"])
        assert set(result["forgetting"]) == set(metrics.FORGETTING)
        assert len(result["seconds"]) == len(result["seen_accuracy"]) == 3


@pytest.mark.parametrize("pretraining", ["rotation", "cloud_labels"])
def test_trunks_from_other_trainings(runs, pretraining):
    changes = [*TINY[:2], f"trunk.pretraining={pretraining}", "trunk.pretraining_training.epochs=1", "learners=[ncm]"]
    run = run_config(NAME, changes, runs_dir=runs)
    assert not stages(run)["trunk"]["reused"]
    notes = json.loads((run / "results.json").read_text())["notes"]
    assert any("later classes" in note for note in notes) == (pretraining == "cloud_labels")


def test_the_report_has_a_table_of_learners(finished, results, tmp_path):
    page = build_report([finished], tmp_path).read_text()
    assert "Class-incremental learners" in page
    assert f"{100 * results['learners']['exact_lda']['last']:.2f}%" in page
    assert "Accuracy while classes come" in page


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trunk.layers=[nope]", "unknown layer 'nope'"),
        ("trunk.layers=[conv_lst]", "unknown layer 'conv_lst': did you mean 'conv_last'"),
        ("trunk.layers=[]", "no layer is named"),
        ("trunk.model.name=spiking_vgg99", "spiking_vgg99"),
        ("trunk.model.name=vgg16", "vgg16|expected a spiking network"),
        ("trunk.distillation={feature_weight: 1, student_map: nope}", "student_map is 'nope'"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(override, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_config(NAME, [*TINY, override], runs_dir=tmp_path)
    assert not (tmp_path / "stages").exists()


def test_bad_configurations():
    with pytest.raises(ConfigError, match="unknown learner 'icarrl': did you mean 'icarl'"):
        load_config(NAME, ["learners=[icarrl]"])
    with pytest.raises(ConfigError, match="expected at least one, each once"):
        load_config(NAME, ["learners=[ncm, ncm]"])
    with pytest.raises(ConfigError, match="unknown option 'exemplar' of replay: did you mean 'exemplars'"):
        load_config(NAME, ["options={replay: {exemplar: 10}}"])
    with pytest.raises(ConfigError, match="unknown option 'seed' of ncm: it takes none"):
        load_config(NAME, ["options={ncm: {seed: 1}}"])
    with pytest.raises(ConfigError, match="unknown learner 'x'"):
        load_config(NAME, ["options={x: {}}"])


@pytest.mark.parametrize(("name", "classes"), [("digits", 10), ("cifar10", 10), ("caltech101", 101)])
def test_small_configurations_give_exemplars_the_bytes_of_statistics(name, classes):
    config = load_config(f"incremental/{name}_small")
    statistics = ExactLearner(8, 4, expansion=config.options["exact_expanded"]["expansion"])
    statistics.observe(np.zeros((classes, 8), dtype=np.uint8), np.arange(classes))
    fitting = statistics.memory_bytes // (3 * config.data.image_size**2)
    exemplars = {key: given["exemplars"] for key, given in config.options.items() if "exemplars" in given}
    assert exemplars == dict.fromkeys(("replay", "icarl", "wa", "bic"), fitting)
