"""The collector of statistics of simulated recordings: images in, a JSON file and the table of docs/events.md out."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eccsnn.data.events.image_files import ImageFiles
from eccsnn.data.events.presets import PRESETS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("event_statistics")


def test_the_table_of_the_docs_is_that_of_the_files(script):
    text = script.PAGE.read_text()
    assert script.page(text, script.RESULTS) == text
    assert {path.stem for path in script.RESULTS.glob("*.json")} == set(script.BIN_US) <= set(PRESETS)


def test_it_counts_the_recordings_that_the_preset_makes(script, tmp_path):
    (tmp_path / "noise").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "noise" / f"{i}.png")
    measured = json.loads(json.dumps(script.measure("n_caltech101", ImageFiles.of_folder(tmp_path), seed=0)))
    recordings = [PRESETS["n_caltech101"].record(image, seed=i) for i, image in enumerate(pixels)]
    events = [len(recording) for recording in recordings]
    assert measured["recordings"] == 2
    assert measured["events"]["mean"] == np.mean(events)
    assert measured["brighter_share"] == sum(int((r.polarity == 1).sum()) for r in recordings) / sum(events)
    assert np.mean(measured["rate_hz_per_bin"]) == pytest.approx(measured["rate_hz"])
    assert measured["bytes"]["atis"] == 5 * measured["events"]["mean"]
    assert measured["bytes"]["png_binary"] < measured["bytes"]["png_counts"]
    assert f"{np.mean(events):,.0f}" in script.table([measured])
