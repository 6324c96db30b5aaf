"""`eccsnn events`: each command on real files, and its errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from eccsnn.cli_events import app
from eccsnn.data import load_dataset
from eccsnn.data.events import read_events, write_events
from eccsnn.data.events.play import play
from eccsnn.data.events.presets import PRESETS
from eccsnn.data.events.simulate_dataset import SimulatedSet
from eccsnn.data.events.summary import MOST_BINS, summarize
from eccsnn.data.events.types import Events
from eccsnn.errors import ConfigError, DataError


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def recording(image, tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "photo.aedat"
    assert "simulated CIFAR10-DVS" in call("simulate", image, path, "--seed", 3)
    return path


def test_simulate_writes_what_the_preset_records(image, recording):
    assert read_events(recording) == PRESETS["cifar10_dvs"].record(np.asarray(Image.open(image)), seed=3)


def test_simulate_makes_a_data_set_of_a_folder_and_of_a_data_set(image, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "images" / name / f"{i}.png").write_bytes(image.read_bytes())
    output = call("simulate", tmp_path / "images", tmp_path / "set", "--preset", "n_caltech101", "--limit", 4)
    assert "4 recordings, 4 made now" in output
    assert len(list((tmp_path / "set" / "Caltech101" / "cat").glob("*.bin"))) == 2
    again = call("simulate", tmp_path / "images", tmp_path / "set", "--preset", "n_caltech101", "--limit", 4)
    assert "4 recordings, 0 made now" in again
    call("simulate", "digits", tmp_path / "digits", "--limit", 10, "--part", "val", "--format", "npz")
    assert len(list((tmp_path / "digits").rglob("*.npz"))) == 10


def test_simulate_takes_the_images_that_a_run_would_take(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ECCSNN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    write_images(folder, ["."], ["BACKGROUND_Google", "Faces", "anchor"])
    for source, options in (("caltech101", ("--root", tmp_path)), (folder, ())):
        out = tmp_path / str(len(options))
        call("simulate", source, out, "--preset", "n_caltech101", *options)
        assert [path.name for path in sorted((out / "Caltech101").iterdir())] == ["BACKGROUND_Google", "anchor"]
    assert "no class" not in caplog.text
    call("simulate", "digits", tmp_path / "digits", "--preset", "n_caltech101", "--limit", 3)
    assert "N-Caltech101 has no class '" in caplog.text


def test_the_training_part_includes_what_would_be_for_validation(monkeypatch, tmp_path):
    monkeypatch.setattr("eccsnn.data.events.simulate_dataset.simulate_dataset", lambda images, *_, **__: sizes(images))
    found = []

    def sizes(images):
        found.append(len(images))
        return SimulatedSet(tmp_path, len(images), 0, 0, 0)

    whole = load_dataset("digits", val_fraction=0.0)
    for part, expected in (("train", len(whole.train)), ("test", len(whole.test))):
        call("simulate", "digits", tmp_path / part, "--part", part)
        assert found.pop() == expected
    call("simulate", "digits", tmp_path / "all")
    assert found.pop() == len(whole.train) + len(whole.test)


def test_simulate_makes_both_parts_of_n_mnist(tmp_path):
    output = call("simulate", "digits", tmp_path / "set", "--preset", "n_mnist", "--limit", 50)
    assert "simulated N-MNIST" in output
    splits = load_dataset("n_mnist", root=tmp_path / "set", timesteps=3, val_fraction=0.0, cache_dir=tmp_path / "cache")
    assert splits.name == "simulated DVS: N-MNIST (.bin)"
    assert (len(splits.train), len(splits.test)) == (40, 10)
    folder = write_images(tmp_path / "images", ["train", "test"], [str(digit) for digit in range(10)])
    output = call("simulate", folder, tmp_path / "mnist", "--preset", "n_mnist", "--format", "npz")
    assert "20 recordings, 20 made now" in output
    assert (tmp_path / "mnist" / "Test" / "9" / "00001.npz").is_file()


def write_images(root, parts, classes):
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            Image.fromarray(np.full((28, 28), 200, np.uint8)).save(root / part / name / "0.png")
    return root


def test_simulate_refuses_options_that_it_would_ignore(image, tmp_path):
    folder = write_images(tmp_path / "images", ["."], ["cat"])
    for source, options, message in (
        (image, ("--root", tmp_path), "--root is .*, which does not apply to one image"),
        (image, ("--part", "train"), "--part is train, which does not apply to one image"),
        (image, ("--limit", 3), "--limit is 3, which does not apply to one image"),
        (image, ("--format", "npz"), "--format is npz, which does not apply to one image"),
        (folder, ("--root", tmp_path), "--root is .*, which does not apply to a folder"),
        (folder, ("--part", "val"), "--part is val, which does not apply to a folder"),
        ("digits", ("--part", "val", "--preset", "n_mnist"), "which has a training and a test part"),
    ):
        with pytest.raises(ConfigError, match=message):
            call("simulate", source, tmp_path / "x.aedat", *options)
    assert not (tmp_path / "x.aedat").exists()


def test_convert_keeps_the_events_and_leaves_no_half_file(recording, tmp_path):
    call("convert", recording, tmp_path / "a.npz")
    assert read_events(tmp_path / "a.npz", sensor=(128, 128)) == read_events(recording)
    call("convert", tmp_path / "a.npz", tmp_path / "b.bin", "--sensor", "128x128")
    assert read_events(tmp_path / "b.bin", sensor=(128, 128)) == read_events(recording)
    broken = tmp_path / "broken.aedat"
    broken.write_bytes(recording.read_bytes()[:-3])
    (tmp_path / "out.npz").write_bytes(b"before")
    with pytest.raises(DataError):
        call("convert", broken, tmp_path / "out.npz")
    assert (tmp_path / "out.npz").read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))
    assert "(" in call("convert", broken, tmp_path / "out.npz", "--policy", "skip")
    assert len(read_events(tmp_path / "out.npz", sensor=(128, 128))) == len(read_events(recording)) - 1


KILLED_WHILE_WRITING = """
import os, signal, sys
import eccsnn.data.events as events

def blocks(*arguments, **options):
    yield from read(*arguments, **options)
    print(os.listdir(sys.argv[1]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

read, events.iterate_events = events.iterate_events, blocks
from eccsnn.cli_events import app
app(["convert", sys.argv[2], os.path.join(sys.argv[1], "out.bin"), "--sensor", "128x128"])
"""


def test_sigterm_leaves_no_part_of_a_file(recording, tmp_path):
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path), str(recording)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert ".out.bin." in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_converting_says_when_times_are_cut(recording, tmp_path):
    assert "below a millisecond" in call("convert", recording, tmp_path / "a.npy")
    assert "below a millisecond" not in call("convert", recording, tmp_path / "a.npz")


def test_info_counts(recording):
    events = read_events(recording)
    numbers = json.loads(call("info", recording, "--json"))
    assert numbers["events"] == len(events)
    assert numbers["brighter"] == int(events.polarity.sum())
    assert numbers["duration_us"] == events.duration_us
    assert sum(numbers["rate_per_bin"]) * 0.1 == pytest.approx(len(events))
    assert f"{len(events):,} events" in call("info", recording)


def test_info_of_an_empty_recording(tmp_path):
    write_events(tmp_path / "none.aedat", Events.empty(width=128, height=128))
    output = call("info", tmp_path / "none.aedat")
    assert output.endswith("none.aedat: aedat2, 128 x 128 px\nno events\n")


def test_summaries_of_blocks_are_those_of_the_whole(recording):
    events = read_events(recording)
    blocks = [events[i : i + 1000] for i in range(0, len(events), 1000)]
    assert summarize(blocks) == summarize([events])
    with pytest.raises(ValueError, match="nothing to summarize"):
        summarize([])


def test_summaries_of_times_far_apart_have_bounded_bins():
    far = Events(t=[0, 10**15, 10**15 + 1], x=[0] * 3, y=[0] * 3, polarity=[1] * 3, width=1, height=1)
    summary = summarize([far[:1], far[1:]])
    assert summary == summarize([far])
    assert len(summary.rate_per_bin) <= MOST_BINS
    assert summary.bin_us > 10**15 / MOST_BINS
    counts = np.array(summary.rate_per_bin) * summary.bin_us / 1e6
    assert (counts[0], counts[-1], counts.sum()) == pytest.approx((1, 2, 3))


def test_play_writes_a_film(recording, tmp_path):
    assert "frames)" in call("play", recording, tmp_path / "film.gif", "--window-ms", 50)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (384, 384)
        assert film.n_frames > 1
    call("play", recording, tmp_path / "film.html", "--window-ms", 50)
    page = (tmp_path / "film.html").read_text()
    assert "data:image/gif;base64," in page
    assert "http" not in page


def test_film_has_the_colours_of_polarities(tmp_path):
    events = Events(
        t=[0] * 6 + [9], x=[0] * 3 + [1] * 3 + [2], y=[0] * 7, polarity=[1, 1, 1, 0, 0, 0, 1], width=4, height=1
    )
    assert play(events, tmp_path / "film.gif", window_us=100, scale=1) == 1
    with Image.open(tmp_path / "film.gif") as film:
        pixels = np.asarray(film.convert("RGB"))[0].tolist()
    assert pixels[0] == [214, 39, 40]
    assert pixels[1] == [31, 119, 180]
    assert pixels[3] == [255, 255, 255]


def test_errors_say_what_was_expected(image, recording, tmp_path):
    with pytest.raises(ConfigError, match="'cifar' does not exist, and it is no name of a data set"):
        call("simulate", "cifar", tmp_path / "x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe' is neither a file nor a folder"):
        call("simulate", tmp_path / "pipe", tmp_path / "x")
    with pytest.raises(ConfigError, match="no preset 'dvs'"):
        call("simulate", image, tmp_path / "x.aedat", "--preset", "dvs")
    with pytest.raises(DataError, match="cannot be read as an image"):
        call("simulate", recording, tmp_path / "x.aedat")
    film = tmp_path / "film.gif"
    Image.new("L", (4, 4)).save(film, save_all=True, append_images=[Image.new("L", (4, 4), 255)])
    with pytest.raises(DataError, match="has 2 frames, expected one image"):
        call("simulate", film, tmp_path / "x.aedat")
    with pytest.raises(DataError, match="no folders"):
        call("simulate", image.parent, tmp_path / "x")
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        call("info", recording, "--sensor", "128")
    with pytest.raises(ConfigError, match=r"expected \.gif or \.html"):
        call("play", recording, tmp_path / "film.mp4")
    with pytest.raises(ConfigError, match="2000 at most"):
        call("play", recording, tmp_path / "film.gif", "--window-ms", 0.01)
    with pytest.raises(ConfigError, match="nothing to play"):
        play(Events.empty(width=4, height=4), tmp_path / "film.gif")
    with pytest.raises(ConfigError, match="--part"):
        call("simulate", "digits", tmp_path / "x", "--part", "all")
