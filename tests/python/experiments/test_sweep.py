"""Sweeps: all combinations, checked before the first run, shared stages."""

from __future__ import annotations

import json

import pytest

from eccsnn.errors import ConfigError
from eccsnn.experiments import sweep
from eccsnn.experiments.sweep import combinations

TINY = ["data.subset={train: 60, val: 20, test: 20}", "network.training.epochs=1", "link.enabled=false"]


def test_all_combinations_in_order():
    assert combinations([]) == [[]]
    assert combinations(["a=1,2", "b.c=x,null"]) == [
        ["a=1", "b.c=x"],
        ["a=1", "b.c=null"],
        ["a=2", "b.c=x"],
        ["a=2", "b.c=null"],
    ]
    assert combinations(["data.subset={train: 2},{train: 3}"])[1] == ["data.subset={train: 3}"]


@pytest.mark.parametrize("entry", ["a", "a=", "=1", "a=[", "a={b: 1"])
def test_malformed_entries_are_named(entry):
    with pytest.raises(ConfigError, match=r"a|=1"):
        combinations([entry])


def test_a_key_comes_once():
    with pytest.raises(ConfigError, match="seed is given twice"):
        combinations(["seed=0", "seed=1"])


def test_a_bad_combination_stops_the_sweep_before_its_first_run(tmp_path):
    with pytest.raises(ConfigError, match=r"unit\.channels"):
        sweep("neucodex/digits_debug", TINY, over=["unit.channels=1,0"], runs_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_runs_share_the_backbone(tmp_path):
    options = [*TINY, "unit.training.epochs=0", "finetune.training.epochs=0"]
    paths = sweep("neucodex/digits_debug", options, over=["unit.channels=1,2"], runs_dir=tmp_path)
    assert len(set(paths)) == 2
    reused = [
        {stage["name"]: stage["reused"] for stage in json.loads((path / "run.json").read_text())["stages"]}
        for path in paths
    ]
    assert not reused[0]["network"]
    assert reused[1]["network"]
    assert reused[1]["uncut"]
    assert not reused[1]["unit"]
