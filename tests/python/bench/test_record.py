import importlib
import json
import os
from pathlib import Path

import pytest

from eccsnn.bench import machine
from eccsnn.bench import record as records
from eccsnn.bench.peers import Absent, choose_peers
from eccsnn.bench.record import Measurement, Result, Row, check_writable, geometric_mean, load_record, write_record
from eccsnn.bench.render import page, table, tables
from eccsnn.errors import BenchmarkError, ConfigError


@pytest.fixture
def record():
    return records.make_record(
        "lif",
        "LIF",
        command="eccsnn bench lif",
        device="cpu",
        host_memory="host memory: kept",
        settings={"size": "full", "dtype": "bf16", "surrogate": "sigmoid", "width": 0.25},
        load_before=0.0,
        absent=[Absent("norse", "cannot be imported", "pip install norse")],
        rows=[
            Row(
                name="4 x 8",
                measurements=[
                    Measurement(name="copy", owner="bound", value=0.1415926, unit="ns", spread=0.01, rounds=7),
                    Measurement(
                        name="a | b", owner="eccsnn", value=3, unit="ns", fraction_of_bound=0.5, bytes_per_item=8
                    ),
                ],
                ratios={"train": 12.345, "kept": 1.43},
                ratio_ranges={"train": (11.0, 13.5)},
                facts={"firing_rate": 0.25},
            )
        ],
        results=[
            Result(name="train", value=12.345, bar=8.0, aim="12x"),
            Result(name="kept", value=0.7, bar=0.45, better="lower"),
            Result(name="other", value=1234.5),
        ],
    )


def test_round_trip(record, tmp_path):
    path = write_record(record, tmp_path / "new" / "a.json")
    assert load_record(path) == record
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]
    content = json.loads(path.read_text())
    assert content["versions"]["torch"]
    assert content["hardware"]["cpu"]
    assert content["absent"][0]["install"] == "pip install norse"


def test_bars(record):
    assert [result.met for result in record.results] == [True, False, None]


def test_a_failed_write_leaves_what_was_there(record, tmp_path, monkeypatch):
    path = write_record(record, tmp_path / "a.json")
    before = path.read_text()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_record(record, path)
    assert path.read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not written by `eccsnn bench`.*move the file elsewhere"),
        (lambda c: c.update(version=3), "version 3 of the format.*measure again with `eccsnn bench NAME`"),
        (lambda c: c.pop("command"), "command: Field required; measure again"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c["rows"][0]["measurements"][0].update(value=-1), "rows.0.measurements.0.value"),
        (lambda c: c["rows"][0]["ratios"].update(train=float("nan")), "rows.0.ratios.train"),
        (lambda c: c.update(rows=[]), "rows"),
    ],
)
def test_a_wrong_file_is_refused(record, tmp_path, change, message):
    path = write_record(record, tmp_path / "a.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(BenchmarkError, match=message):
        load_record(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=r"a\.json.*measure again"):
        load_record(path)
    with pytest.raises(BenchmarkError, match=r"missing\.json cannot be read: there is no such file; measure it"):
        load_record(tmp_path / "missing.json")


def test_table(record, tmp_path):
    record = load_record(write_record(record, tmp_path / "a.json"))
    text = table(record)
    assert text.startswith("## LIF, bf16, sigmoid surrogate, width 0.25: ")
    assert "load average 0.0 before and " in text
    assert "| ratio (above 1: eccsnn is better) | x | quartiles |" in text
    assert "| train | 12.3 | 11 to 13.5 |" in text
    assert "| kept | 1.43 | - |" in text
    assert "| train | 12.3x | >= 8x | met | 12x |" in text
    assert "| kept | 0.7x | <= 0.45x | not met | - |" in text
    assert "| copy | 0.142 | 0.01 | ns | 7 |" in text
    assert "| a \\| b | 3 | - | ns | 1 | 8 | 50% |" in text
    assert "Not measured: norse: cannot be imported (`pip install norse`)." in text
    assert page([record]).startswith("# Benchmarks\n")
    unknown = record.model_copy(update={"git": {}})
    assert "; commit unknown; " in table(unknown)
    assert "2 commits" in page([record, unknown])


def changed(record, **changes):
    return record.model_copy(update=changes)


def test_a_bar_is_not_judged_on_a_busy_machine(record):
    timed = Result(name="train", value=12.0, bar=8.0, spread=0.1)
    noisy = Result(name="noisy", value=12.0, bar=8.0, spread=0.26)
    counted = Result(name="breaks", value=0, bar=0.0, better="lower")
    hardware = record.hardware | {"cores": 2}
    for load, judged in ((0.9, True), (1.1, False)):
        text = table(
            changed(
                record, hardware=hardware, results=[timed, noisy, counted], load=records.Load(before=load, after=2.0)
            )
        )
        assert f"| train | 12x | >= 8x | {'met' if judged else 'not judged: busy machine'} | - |" in text
        assert "| noisy | 12x | >= 8x | not judged: busy machine | - |" in text
        assert "| breaks | 0x | <= 0x | met | - |" in text


def test_files_of_the_first_version_can_be_read(record, tmp_path):
    content = json.loads(write_record(record, tmp_path / "a.json").read_text())
    content["version"] = 1
    del content["load"]
    content["rows"][0]["facts"] = {"gradient_cosine": 1.0}
    for part in content["rows"]:
        del part["ratio_ranges"]
    for part in content["results"]:
        del part["spread"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    text = table(load_record(tmp_path / "a.json"))
    assert "load not recorded" in text
    assert "gradient_cosine (fp32, a batch of at most 8; not as measured) 1" in text
    assert "| train | 12.3x | >= 8x | met | 12x |" in text


def test_tiny_and_broken_files_are_left_out_of_the_page(record, tmp_path):
    good = write_record(record, tmp_path / "good.json")
    tiny = write_record(changed(record, settings={"size": "tiny"}), tmp_path / "tiny.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    found, errors = tables([broken, good, tiny])
    assert found == [record]
    assert [error.split()[0] for error in errors] == [str(broken), str(tiny)]
    assert "--size tiny, which says nothing about speed" in errors[1]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("", "is a folder"), ("folder", "'folder' is a folder"), ("file/x/y.json", "'file' is no folder")],
)
def test_a_file_that_cannot_be_written_is_told_beforehand(path, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"--out: .* cannot be written: .*{reason}"):
        check_writable(Path(path), "--out")
    with pytest.raises(ConfigError, match=r"--out: '/proc/nope/x\.json' cannot be written"):
        check_writable(Path("/proc/nope/x.json"), "--out")
    check_writable(tmp_path / "new" / "folder" / "x.json", "--out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "file"}


def test_geometric_mean():
    assert geometric_mean([1.0, 4.0, 16.0]) == pytest.approx(4.0)
    for values in ([], [1.0, 0.0]):
        with pytest.raises(ValueError, match="above 0"):
            geometric_mean(values)


def test_peers(monkeypatch):
    assert choose_peers("none") == ([], [])
    with pytest.raises(ConfigError, match="did you mean 'norse'"):
        choose_peers("spikingjelly,nose")
    for text in ("", " , "):
        with pytest.raises(ConfigError, match="names no peer; expected all, none, or some of spikingjelly"):
            choose_peers(text)
    for text in ("all,norse", "norse,none"):
        with pytest.raises(ConfigError, match=f"stands alone, but '{text}' was given"):
            choose_peers(text)

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    def broken(name):
        raise RuntimeError("wrong version\nof something")

    monkeypatch.setattr(importlib, "import_module", broken)
    found, absent = choose_peers("norse")
    assert found == []
    assert absent == [Absent("norse", "cannot be imported: RuntimeError: wrong version")]
    monkeypatch.setattr(importlib, "import_module", missing)
    found, absent = choose_peers("all")
    assert found == []
    assert [peer.install for peer in absent] == [
        "pip install spikingjelly",
        "pip install snntorch",
        "pip install norse",
    ]


def test_the_default_file_is_named_after_the_processor(monkeypatch):
    for name, slug in (
        ("AMD EPYC(TM) 7763 64-Core Processor", "amd-epyc-7763-64-core"),
        ("Intel(R) Xeon(R) CPU @ 2.2GHz", "intel-xeon-family-25-model-17"),
        ("AMD EPYC", "amd-epyc-family-25-model-17"),
    ):
        found = {"cpu": name, "gpu": None, "cpu_family": "25", "cpu_model": "17"}
        monkeypatch.setattr(records, "describe", lambda device, found=found: found)
        assert str(records.default_path("lif", [], "cpu")) == f"benchmarks/lif-{slug}.json"
        changed = ["bf16", "width0.25"]
        assert str(records.default_path("train-step", changed, "cpu")) == (
            f"benchmarks/train-step-bf16-width0.25-{slug}.json"
        )


def test_the_machine_is_described(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nflags\t: fpu hypervisor\n\nprocessor\t: 1\n")
    for index, (level, kind, size) in enumerate((("1", "Data", "32K"), ("2", "Unified", "1024K"))):
        folder = tmp_path / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(value + "\n")
    monkeypatch.setattr(machine, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(machine, "_CACHES", tmp_path / "cache")
    words = machine.in_words(machine.describe("cpu"))
    assert "family 25 model 17" in words
    assert "caches L1d 32K, L2 1024K, under a hypervisor" in words
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "nothing")
    monkeypatch.setattr(machine, "_CACHES", tmp_path / "nothing")
    assert not {"caches", "hypervisor", "cpu_family"} & machine.describe("cpu").keys()
