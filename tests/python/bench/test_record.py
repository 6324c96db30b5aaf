import json

import pytest

from eccsnn.bench import record as records
from eccsnn.bench.peers import Absent, choose_peers
from eccsnn.bench.record import Measurement, Result, Row, geometric_mean, load_record, write_record
from eccsnn.bench.render import page, table
from eccsnn.errors import BenchmarkError, ConfigError


@pytest.fixture
def record():
    return records.make_record(
        "lif",
        "LIF",
        command="eccsnn bench lif",
        device="cpu",
        host_memory="host memory: kept",
        settings={"size": "tiny"},
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
                ratios={"train": 12.345},
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
    monkeypatch.setattr(records.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_record(record, path)
    assert path.read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "not written by `eccsnn bench`"),
        (lambda c: c.update(version=2), "version 2 of the format"),
        (lambda c: c.pop("command"), "command: Field required"),
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
    with pytest.raises(BenchmarkError, match=r"a\.json"):
        load_record(path)
    with pytest.raises(BenchmarkError, match="cannot be read"):
        load_record(tmp_path / "missing.json")


def test_table(record, tmp_path):
    text = table(write_record(record, tmp_path / "a.json"))
    assert "| train | 12.3x | >= 8x | met | 12x |" in text
    assert "| kept | 0.7x | <= 0.45x | not met | - |" in text
    assert "| copy | 0.142 | 0.01 | ns | 7 |" in text
    assert "| a \\| b | 3 | - | ns | 1 | 8 | 50% |" in text
    assert "Not measured: norse cannot be imported (`pip install norse`)." in text
    assert page([tmp_path / "a.json"]).startswith("# Benchmarks\n")


def test_geometric_mean():
    assert geometric_mean([1.0, 4.0, 16.0]) == pytest.approx(4.0)
    for values in ([], [1.0, 0.0]):
        with pytest.raises(ValueError, match="above 0"):
            geometric_mean(values)


def test_peers(monkeypatch):
    assert choose_peers("none") == ([], [])
    with pytest.raises(ConfigError, match="did you mean 'norse'"):
        choose_peers("spikingjelly,nose")

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", missing)
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
        ("Intel(R) Xeon(R) CPU @ 2.2GHz", "intel-xeon"),
    ):
        monkeypatch.setattr(records, "hardware", lambda device, name=name: {"cpu": name, "gpu": None})
        assert str(records.default_path("lif", "cpu")) == f"benchmarks/lif-{slug}.json"
