"""Every benchmark end to end, at a size at which it takes seconds."""

import os
import subprocess
import sys

import pytest

from eccsnn.bench import train_step
from eccsnn.bench.networks import NetworkSettings
from eccsnn.bench.record import load_record
from eccsnn.cli import main


def call(*arguments, cwd, code=0, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "eccsnn.cli", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=os.environ | environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def bench(name, *arguments, cwd, **environment):
    done = call(name, "--size", "tiny", "--out", cwd / "out.json", *arguments, cwd=cwd, **environment)
    assert f"json: {cwd / 'out.json'}" in done.stdout
    assert "host memory: " in done.stdout
    return load_record(cwd / "out.json"), done.stdout


def call_here(arguments, monkeypatch, capsys, cwd):
    """The exit code and errors of a command, in this process and with its allocator as it is."""
    monkeypatch.setattr("eccsnn.host_memory.keep_freed_memory", lambda: "host memory: as it is")
    monkeypatch.setattr(sys, "argv", ["eccsnn", "bench", *arguments])
    monkeypatch.chdir(cwd)
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err.replace("\n", " ")


@pytest.mark.slow
def test_lif(tmp_path):
    record, shown = bench("lif", cwd=tmp_path)
    assert record.command.startswith("eccsnn bench lif --size tiny --out ")
    assert record.absent == []
    assert record.settings["peers"] == ["spikingjelly", "snntorch", "norse"]
    row, first_call = record.rows
    assert {entry.owner for entry in row.measurements} == {"bound", "eccsnn", "spikingjelly", "snntorch", "norse"}
    assert row.facts["spikes_equal_to_spikingjelly"] == 1
    assert row.facts["spikes_equal_to_snntorch"] > 0.95
    assert row.facts["spikes_equal_to_norse"] > 0.95
    assert 0 < row.facts["firing_rate"] < 1
    assert len(row.ratios) == 10
    assert all(value > 0 for value in row.ratios.values())
    packed = next(entry for entry in row.measurements if entry.name == "eccsnn inference, packed")
    assert packed.bytes_per_item == 4.125
    assert packed.fraction_of_bound > 0
    assert [entry.name for entry in first_call.measurements] == ["eccsnn first call", "eccsnn second call"]
    assert all(result.bar is None for result in record.results)  # they are for the full size
    assert "train: SpikingJelly compiled, geometric mean" in shown
    call("table", tmp_path / "out.json", "--out", tmp_path / "docs" / "page.md", cwd=tmp_path)
    assert "## Fused multi-timestep LIF" in (tmp_path / "docs" / "page.md").read_text()


def test_lif_in_bf16_says_why_peers_are_not_timed(tmp_path):
    record, shown = bench("lif", "--dtype", "bf16", "--no-compile", "--surrogate", "rect", "--threads", 1, cwd=tmp_path)
    assert record.threads == 1
    assert {absent.peer for absent in record.absent} == {"spikingjelly", "snntorch", "norse"}
    assert "not measured: spikingjelly" in shown
    assert {entry.owner for entry in record.rows[0].measurements} == {"bound", "eccsnn"}


def test_memory(tmp_path):
    record, _ = bench("memory", cwd=tmp_path)
    (row,) = record.rows
    values = {entry.name: entry.value for entry in row.measurements}
    for library in ("eccsnn", "SpikingJelly"):
        parts = [
            values[f"{library} keeps: {kind}"] for kind in ("conv", "bn", "neuron", "pool", "linear", "loss", "state")
        ]
        assert sum(parts) == pytest.approx(values[f"{library} keeps: in all"])
        conv, norm, neuron, pool = parts[:4]
        assert min(conv, neuron, pool) > 0
        # eccsnn's neurons have the batch norm in them, and keep one tensor for both.
        assert (norm == 0) == (library == "eccsnn")
        assert values[f"{library} keeps: weights, not counted above"] > 0
        assert values[f"{library} peak of a step"] > 0
    assert row.ratios["kept by conv + bn + neuron: SpikingJelly"] > 1
    assert row.facts["gradient_cosine"] > 0.9


def test_train_step(tmp_path):
    record, _ = bench("train-step", "--dtype", "bf16", "--no-compile", "--batch", 3, "--threads", 1, cwd=tmp_path)
    (row,) = record.rows
    assert [entry.name for entry in row.measurements] == ["eccsnn eager", "SpikingJelly eager"]
    assert list(row.ratios) == ["eccsnn eager: SpikingJelly eager"]
    assert "batch 3" in row.name
    assert "bf16 autocast" in row.name


@pytest.mark.slow
def test_compile(tmp_path):
    record, _ = bench("compile", "--threads", 1, cwd=tmp_path)
    captured, timed = record.rows
    counts = {entry.name: entry.value for entry in captured.measurements}
    assert counts["eccsnn: graph breaks"] == 0
    assert counts["eccsnn: layout copies of the images"] == 1
    assert counts["eccsnn: compilations for three values of batch"] <= 2
    assert len(timed.measurements) == 4
    assert len(timed.ratios) == 4
    assert {result.name: result.met for result in record.results}["graph breaks"] is True


def test_codec(tmp_path):
    record, shown = bench("codec", "--threads", 1, cwd=tmp_path)
    assert [row.name.split(",")[0] for row in record.rows] == ["independent", "clusters"]
    for row in record.rows:
        values = {entry.name: entry.value for entry in row.measurements}
        assert values["size: eccsnn payload"] < values["size: eccsnn, learnt tables"] < values["size: packed bits"]
        assert values["size: eccsnn, learnt tables"] < values["size: zstandard, each timestep"]
        assert {entry.owner for entry in row.measurements} == {"eccsnn", "bound", "zstandard", "constriction"}
        assert min(values.values()) > 0
    assert "size: packed bits" in shown


def test_without_peers():
    rows, results, absent = train_step.run(NetworkSettings("tiny", compiled=False), [])
    assert [entry.name for entry in rows[0].measurements] == ["eccsnn eager"]
    assert results == absent == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lif", "--size", "tni"], "did you mean 'tiny'"),
        (["lif", "--dtype", "fp31"], "did you mean 'fp32'"),
        (["lif", "--surrogate", "atn"], "did you mean 'atan'"),
        (["lif", "--peers", "snntorch,nose"], "did you mean 'norse'"),
        (["lif", "--device", "gpu"], "expected cpu, cuda or cuda:N"),
        (["memory", "--peers", "norse"], "unknown peer 'norse'"),
        (["train-step", "--dtype", "fp64"], "unknown 'fp64'"),
        (["codec", "--size", "ful"], "did you mean 'full'"),
        (["codec", "--spikes", "nowhere"], "holds no .npz file"),
        (["codec", "--peers", "norse"], "unknown peer 'norse'"),
        (["train-step", "--width", "-1"], "width is -1.0, expected a number above 0"),
        (["table"], "run `eccsnn bench lif` first"),
        (["table", "nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_errors_are_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    code, error = call_here(arguments, monkeypatch, capsys, tmp_path)
    assert code == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_benchmark(tmp_path, monkeypatch, capsys):
    code, error = call_here(["liff"], monkeypatch, capsys, tmp_path)
    assert code == 2
    assert "Did you mean 'lif'?" in error


def test_help_names_every_benchmark(tmp_path):
    shown = call("--help", cwd=tmp_path).stdout
    for name in ("lif", "memory", "train-step", "compile", "codec", "table"):
        assert name in shown
