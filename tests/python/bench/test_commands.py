"""Every benchmark end to end, at a size at which it takes seconds."""

import os
import subprocess
import sys

import pytest

from eccsnn.bench import event_frames, events, lif, train_step
from eccsnn.bench.networks import NetworkSettings
from eccsnn.bench.peers import Absent
from eccsnn.bench.record import Row, load_record
from eccsnn.bench.timing import ignore
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
    assert row.ratio_ranges.keys() == row.ratios.keys()
    assert all(result.spread is not None for result in record.results)
    refused = call("table", tmp_path / "out.json", "--out", tmp_path / "page.md", cwd=tmp_path, code=1)
    assert "--size tiny, which says nothing about speed" in refused.stderr
    assert not (tmp_path / "page.md").exists()


def test_lif_without_a_compiler_measures_the_rest(tmp_path):
    environment = {"CXX": "false", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    record, shown = bench("lif", "--peers", "spikingjelly", cwd=tmp_path, **environment)
    assert [absent.peer for absent in record.absent] == ["spikingjelly compiled"]
    assert "not measured: spikingjelly compiled: torch.compile fails: " in shown
    assert "SpikingJelly train" in {entry.name for entry in record.rows[0].measurements}


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
    assert row.facts["gradient cosine for identity (fp32, batch 2)"] > 0.9
    assert "the allocator is left as it is" in record.host_memory


def test_train_step(tmp_path):
    record, _ = bench("train-step", "--dtype", "bf16", "--no-compile", "--batch", 3, "--threads", 1, cwd=tmp_path)
    (row,) = record.rows
    assert [entry.name for entry in row.measurements] == ["eccsnn eager", "SpikingJelly eager"]
    assert list(row.ratios) == ["eccsnn eager: SpikingJelly eager"]
    assert "batch 3" in row.name
    assert "bf16 autocast" in row.name
    assert row.facts["gradient cosine for identity (fp32, batch 3)"] > 0.9
    as_measured = [row.facts[f"{name} as measured (bf16, batch 3)"] for name in ("loss of eccsnn", "gradient cosine")]
    assert as_measured[0] != row.facts["loss of eccsnn for identity (fp32, batch 3)"]
    assert -1 <= as_measured[1] <= 1
    assert record.load is not None


def test_events(tmp_path):
    record, shown = bench("events", cwd=tmp_path)
    assert record.threads == 1
    assert record.absent == []
    readers, frames, simulator = record.rows[:2], record.rows[2:4], record.rows[4:]
    assert [row.name.split()[1] for row in readers] == ["AEDAT", "ATIS,"]
    for row in readers:
        names = ["copy of the file", "eccsnn read_events", "eccsnn iterate_events", "tonic read", "SpikingJelly read"]
        assert [entry.name for entry in row.measurements] == names
        assert [entry.owner for entry in row.measurements] == ["bound", "eccsnn", "eccsnn", "tonic", "spikingjelly"]
        assert list(row.ratios) == ["tonic read", "SpikingJelly read"]
    assert [row.name.rsplit(maxsplit=1)[1] for row in frames] == ["number", "time"]
    for row in frames:
        assert list(row.ratios) == ["tonic frames", "SpikingJelly frames"]
    assert [row.name.split()[0] for row in simulator] == ["simulate"]
    assert simulator[0].measurements[0].name == "eccsnn, 1 thread"
    assert all(entry.value > 0 for row in record.rows for entry in row.measurements)
    assert record.results == []  # they are for the full size
    assert "M events/s" in shown
    assert "tonic" in record.versions


@pytest.mark.parametrize("cores", [1, 2])
def test_the_simulator_is_judged_by_the_faster_of_what_users_get(cores, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    row, (result,) = event_frames.simulator_row(2, events.EventSettings("tiny", budget_s=0).budget, ignore)
    names = ["1 thread", "2 threads", "2 recordings at a time"][: 2 * cores - 1]
    assert [entry.name for entry in row.measurements] == [f"eccsnn, {name}" for name in names]
    best = max(row.measurements, key=lambda entry: entry.value)
    assert result.value == best.value
    assert result.aim.endswith(f"fastest: {best.name.removeprefix('eccsnn, ')}")


def test_a_reader_of_other_events_is_not_measured(monkeypatch):
    settings = events.EventSettings("tiny", budget_s=0)
    monkeypatch.setitem(events._PEER_READERS, ("tonic", "atis"), lambda path: (list, lambda _: ([0], [0], [0], [0])))
    rows, _, absent = events.run(settings, ["tonic"])
    assert [entry.reason for entry in absent] == ["ValueError: its events are not those that were written"]
    assert "tonic read" in {entry.name for entry in rows[0].measurements}
    assert "tonic read" not in {entry.name for entry in rows[1].measurements}


def test_a_tiny_run_writes_nothing_by_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("eccsnn.bench.train_step.run", lambda *_: ([Row(name="row", measurements=[])], [], []))
    arguments = ["train-step", "--size", "tiny", "--peers", "none", "--no-compile"]
    assert call_here(arguments, monkeypatch, capsys, tmp_path) == (0, "")
    assert list(tmp_path.iterdir()) == []
    arguments = ["train-step", "--width", "0.25", "--dtype", "bf16", "--surrogate", "sigmoid", "--peers", "none"]
    assert call_here([*arguments, "--batch", "8", "--no-compile"], monkeypatch, capsys, tmp_path) == (0, "")
    (file,) = (tmp_path / "benchmarks").iterdir()
    assert file.name.startswith("train-step-bf16-sigmoid-width0.25-batch8-eager-peers-none-")


def test_nothing_is_measured_where_the_file_cannot_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("eccsnn.bench.train_step.run", lambda *_: pytest.fail("it was measured"))
    (tmp_path / "README.md").touch()
    for out in ("/proc/nope/x.json", "README.md/x.json", ".", "/dev/full/x.json"):
        code, error = call_here(["train-step", "--size", "tiny", "--out", out], monkeypatch, capsys, tmp_path)
        assert code == 1
        assert f"--out: {out!r} cannot be written" in error
    for out in ("", "/proc/x.md"):
        code, error = call_here(["table", "README.md", "--out", out], monkeypatch, capsys, tmp_path)
        assert code == 1
        assert "--out: " in error


def test_a_peer_that_breaks_is_not_measured(monkeypatch):
    def broken(settings):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("eccsnn.bench.networks.spikingjelly_network", broken)
    rows, _, absent = train_step.run(NetworkSettings("tiny", compiled=False), ["spikingjelly"])
    assert [entry.name for entry in rows[0].measurements] == ["eccsnn eager"]
    assert absent == [Absent("spikingjelly", "its network fails: RuntimeError: no such kernel")]
    monkeypatch.setitem(lif._PEERS, "norse", lambda *_: broken(None))
    rows, _, absent = lif.run(lif.LifSettings("tiny", compiled=False), ["norse"])
    assert absent == [Absent("norse", "fails: RuntimeError: no such kernel")]


@pytest.mark.parametrize(
    ("command", "says"), [("bench", "interrupted."), ("run", "interrupted; the same command resumes it.")]
)
def test_only_what_resumes_says_so(command, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eccsnn", command])
    monkeypatch.setattr("eccsnn.cli.app", lambda standalone_mode: 130)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130
    assert capsys.readouterr().err.strip() == says


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
    assert timed.facts["gradient cosine, eccsnn compiled and eager"] > 0.9
    assert timed.facts["gradient cosine, SpikingJelly compiled and eager"] > 0
    assert timed.facts["gradient cosine for identity (fp32, batch 2)"] > 0.9
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


def test_incremental(tmp_path):
    record, shown = bench("incremental", "--threads", 1, cwd=tmp_path)
    (row,) = record.rows
    assert {entry.owner for entry in row.measurements} == {"eccsnn", "acil", "slda"}
    assert all(entry.value > 0 for entry in row.measurements)
    assert {"ACIL, published update", "streaming LDA, published update"} <= row.ratios.keys()
    assert len(record.results) == 15  # five peers, a solve a task, a solve a batch, none
    assert all(result.bar is None for result in record.results)  # they are for the full size
    assert "streaming LDA, in place over eccsnn, batch 4, updates alone" in shown
    taken = {entry.name: entry.value for entry in row.measurements}
    found = {result.name: result.value for result in record.results}
    for peer, classifier, ours in (
        ("ACIL, published", "ridge", taken["eccsnn update and ridge solve"]),
        ("streaming LDA, published", "lda", taken["eccsnn update"] + taken["eccsnn lda solve"]),
    ):  # each beside the same classifier
        theirs = taken[f"{peer} update"] + taken[f"{peer.split(',')[0]} solve"]
        assert found[f"{peer} over eccsnn {classifier}, batch 4, a solve a batch"] == pytest.approx(theirs / ours)
    alone, _ = bench("incremental", "--peers", "none", cwd=tmp_path)
    assert alone.results == []


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
        (["train-step", "--width", "-1"], "--width: -1.0; expected a finite number above 0"),
        (["train-step", "--width", "0"], "--width: 0.0; expected a finite number above 0"),
        (["memory", "--width", "nan"], "--width: nan"),
        (["compile", "--size", "tiny", "--budget", "inf"], "--budget: inf; expected a finite number of seconds"),
        (["lif", "--peers", ""], "--peers: '' names no peer"),
        (["lif", "--peers", "all,norse"], "--peers: 'all' stands alone"),
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
