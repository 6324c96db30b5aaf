import json
import logging
import multiprocessing
import os
import signal

import pytest

from eccsnn.experiments import stages
from eccsnn.experiments.stages import StageStore, code_version


def write(text):
    def build(folder):
        (folder / "out.txt").write_text(text)

    return build


def test_computed_once_then_reused(tmp_path):
    store = StageStore(tmp_path)
    first = store.run("teacher", {"lr": 1}, ["nn"], write("a"))
    second = store.run("teacher", {"lr": 1}, ["nn"], write("b"))
    assert (first.reused, second.reused) == (False, True)
    assert second.path == first.path
    assert (second.path / "out.txt").read_text() == "a"
    assert second.seconds == first.seconds


@pytest.mark.parametrize(
    ("name", "inputs", "code"),
    [("teacher", {"lr": 2}, ["nn"]), ("student", {"lr": 1}, ["nn"]), ("teacher", {"lr": 1}, ["ops"])],
)
def test_another_description_is_another_artefact(tmp_path, name, inputs, code):
    store = StageStore(tmp_path)
    first = store.run("teacher", {"lr": 1}, ["nn"], write("a"))
    other = store.run(name, inputs, code, write("b"))
    assert not other.reused
    assert other.key != first.key


def test_order_of_keys_does_not_matter(tmp_path):
    store = StageStore(tmp_path)
    assert store.key("s", {"a": 1, "b": 2}, ["nn"])[0] == store.key("s", {"b": 2, "a": 1}, ["nn"])[0]


def test_a_failed_build_leaves_no_artefact_but_its_own_files(tmp_path):
    store = StageStore(tmp_path)

    def fail(folder):
        (folder / "checkpoint.safetensors").write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        store.run("s", {}, ["nn"], fail)
    found = []

    def resume(folder):
        found.append((folder / "checkpoint.safetensors").read_text())
        (folder / "out.txt").write_text("done")

    artefact = store.run("s", {}, ["nn"], resume)
    assert found == ["half"]
    assert sorted(p.name for p in artefact.path.iterdir()) == ["out.txt", "stage.json"]


def test_leftovers_of_a_killed_try_do_not_enter_the_artefact(tmp_path):
    store = StageStore(tmp_path)

    def killed(folder):
        (folder / "checkpoint.safetensors").write_text("half")
        (folder / ".checkpoint.safetensors.x7f").write_text("being written")
        (folder / "old").mkdir()
        (folder / "old" / "file").write_text("old")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        store.run("s", {}, ["nn"], killed)
    artefact = store.run("s", {}, ["nn"], write("done"))
    assert sorted(p.name for p in artefact.path.iterdir()) == ["out.txt", "stage.json"]


def test_other_kernels_are_other_code(monkeypatch):
    before = code_version(("nn",))
    monkeypatch.setattr(stages, "KERNELS_VERSION", stages.KERNELS_VERSION + 1)
    code_version.cache_clear()
    assert code_version(("nn",)) != before
    code_version.cache_clear()


@pytest.mark.parametrize("damage", ["truncate", "remove", "no_description", "bad_description"])
def test_a_broken_artefact_is_set_aside_and_computed_again(tmp_path, caplog, damage):
    store = StageStore(tmp_path)
    first = store.run("s", {}, ["nn"], write("abc"))
    if damage == "truncate":
        (first.path / "out.txt").write_text("a")
    elif damage == "remove":
        (first.path / "out.txt").unlink()
    elif damage == "no_description":
        (first.path / "stage.json").unlink()
    else:
        (first.path / "stage.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        again = store.run("s", {}, ["nn"], write("new"))
    assert not again.reused
    assert (again.path / "out.txt").read_text() == "new"
    assert "is broken" in caplog.text
    assert len(list(first.path.parent.glob("*.broken-*"))) == 1


def test_recomputing_says_what_differs(tmp_path, caplog):
    store = StageStore(tmp_path)
    store.run("s", {"training": {"lr": 1, "epochs": 2}}, ["nn"], write("a"))
    with caplog.at_level(logging.INFO):
        store.run("s", {"training": {"lr": 3, "epochs": 2}}, ["nn"], write("a"))
    assert "inputs.training.lr" in caplog.text
    assert "epochs" not in caplog.text


def test_code_version_ignores_comments_and_docstrings_only(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_PACKAGE", tmp_path)
    (tmp_path / "part").mkdir()
    source = tmp_path / "part" / "a.py"

    def version(text):
        source.write_text(text)
        code_version.cache_clear()
        return code_version(("part",))

    base = version('def f(x):\n    """One."""\n    return x + 1\n')
    assert version('def f(x):\n    """Two."""\n    return x + 1  # why\n') == base
    assert version('def f(x):\n    """One."""\n    return x + 2\n') != base
    code_version.cache_clear()


def _die_in_the_middle(root):
    def build(folder):
        (folder / "half.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    StageStore(root).run("s", {}, ["nn"], build)


def test_a_kill_leaves_nothing_that_looks_finished(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    artefact = StageStore(tmp_path).run("s", {}, ["nn"], write("whole"))
    assert not artefact.reused
    assert "out.txt" in json.loads((artefact.path / "stage.json").read_text())["files"]


def test_an_artefact_says_where_it_was_computed(tmp_path):
    StageStore(tmp_path, {"device": "cuda", "git": {"sha": "abc"}}).run("s", {}, ["nn"], write("a"))
    reused = StageStore(tmp_path, {"device": "cpu"}).run("s", {}, ["nn"], write("b"))
    assert reused.reused
    assert reused.computed == {"device": "cuda", "git": {"sha": "abc"}}


def test_the_seconds_of_a_killed_try_count_up_to_its_last_checkpoint(tmp_path):
    store = StageStore(tmp_path)
    key, _ = store.key("s", {}, ["nn"])
    partial = tmp_path / "s" / f"{key[:16]}.partial"
    partial.mkdir(parents=True)
    (partial / "seconds").write_text("10")  # of tries before, which ended in an orderly way
    (partial / "started").write_text("1000")
    (partial / "checkpoint.safetensors").write_text("half")
    os.utime(partial / "checkpoint.safetensors", (1030, 1030))
    artefact = store.run("s", {}, ["nn"], write("a"))
    assert 40 <= artefact.seconds < 50
    assert sorted(p.name for p in artefact.path.iterdir()) == ["out.txt", "stage.json"]


def test_what_differs_is_told_without_false_alarms(tmp_path, caplog):
    store = StageStore(tmp_path)
    store.run("s", {"classes": (0, 1), "lr": 1}, ["nn"], write("a"))
    with caplog.at_level(logging.INFO):
        store.run("s", {"classes": (0, 1), "lr": 2}, ["nn"], write("a"))
    assert caplog.messages[-1].endswith("this differs: inputs.lr")  # a tuple is the list that JSON makes of it


def test_going_on_from_a_checkpoint_is_told(tmp_path, caplog):
    store = StageStore(tmp_path)

    def fail(folder):
        (folder / "checkpoint.safetensors").write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        store.run("s", {}, ["nn"], fail)
    with caplog.at_level(logging.INFO):
        store.run("s", {}, ["nn"], write("a"))
    assert "stage s: goes on from the checkpoint of an earlier try" in caplog.messages
