"""The page as a whole: self-contained, valid, safe, and saying what the run directory says."""

import base64
import hashlib
import itertools
import json
import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs
from report_fixture import write_run
from report_page import Page

from eccsnn.errors import DataError
from eccsnn.report import build_report

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quotes' {{x}} %{y}"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return build_report([write_run(folder / "run")], folder / "report.html")


def test_the_path_that_was_asked_for_is_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert build_report([run], tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert build_report([run], tmp_path) == tmp_path / "report.html"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["page.html"]


def test_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No run directory was given"):
        build_report([], tmp_path / "report.html")


def test_a_broken_run_leaves_no_page(tmp_path: Path) -> None:
    good, bad = write_run(tmp_path / "good"), write_run(tmp_path / "bad")
    (bad / "run.json").unlink()
    with pytest.raises(DataError, match=r"bad is not a complete run directory: run\.json is missing"):
        build_report([good, bad], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_plotly_is_in_the_page_exactly_once(one: Path) -> None:
    scripts = Page.read(one).scripts
    assert scripts.count(get_plotlyjs()) == 1
    assert len(scripts) == 2
    assert one.read_text(encoding="utf-8").count("plotly.js v") == get_plotlyjs().count("plotly.js v")


def test_nothing_is_loaded_from_anywhere(one: Path) -> None:
    page = Page.read(one)
    for name, attributes in page.elements:
        for key, value in attributes.items():
            assert key not in ("src", "srcset", "data", "poster", "background", "action"), (name, key, value)
            if key == "href":
                assert value is not None
                assert value.startswith("#")
        assert name not in ("link", "iframe", "object", "embed", "base", "img")
    styles = "".join(re.findall(r"<style>(.*?)</style>", one.read_text(encoding="utf-8"), flags=re.S))
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_policy_forbids_requests_and_admits_only_the_pages_own_scripts(one: Path) -> None:
    page = Page.read(one)
    policy = next(a["content"] for n, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for script in page.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_ids_are_unique_and_links_lead_somewhere(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{seed}", seed=seed) for seed in range(2)]
    page = Page.read(build_report(runs, tmp_path))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for n, a in page.elements if n == "a"} | {
        f"#{a['aria-labelledby']}" for _, a in page.elements if "aria-labelledby" in a
    }
    assert targets
    assert targets <= {f"#{i}" for i in ids}


def test_the_page_can_be_read_aloud(one: Path) -> None:
    page = Page.read(one)
    assert ("html", {"lang": "en"}) in page.elements
    plots = [attributes for _, attributes in page.elements if attributes.get("class") == "plot"]
    assert len(plots) > 10
    assert all(plot["role"] == "img" and len(plot["aria-label"] or "") > 20 for plot in plots)
    headers = [attributes for name, attributes in page.elements if name == "th"]
    assert all(header["scope"] in ("row", "col") for header in headers)
    captions = [name for name, _ in page.elements if name == "caption"]
    assert len(captions) == sum(name == "table" for name, _ in page.elements)
    assert all("aria-label" in attributes for name, attributes in page.elements if name == "select")
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_header_says_what_ran_where(one: Path) -> None:
    text = Page.read(one).text
    for expected in (
        "ecc_snn/digits_small",
        "scikit-learn digits, 32×32 px",
        "1,257 training, 180 validation, 360 test",
        "Example 7000 Processor, 2 cores, avx2, 23.4 GiB memory, no GPU",
        "torch 2.14.1",
        "git 0123456789ab",
        "2026-02-03 10:11 UTC",
        "3 min 18 s",
        "finished",
        "feature_weight: 0.2",  # the configuration
        "thresholds were chosen on validation data of all classes",
    ):
        assert expected in text, expected


def test_hostile_strings_stay_text(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        run={"name": HOSTILE, "hardware": {"cpu": HOSTILE}, "versions": {HOSTILE: HOSTILE}},
        config={"name": HOSTILE},
        results={
            "data": {"name": HOSTILE, "class_names": [f"{HOSTILE} {i}" for i in range(10)]},
            "edge": {"model": HOSTILE, "firing_rates": {HOSTILE: 0.1}},
            "update": {"learner": HOSTILE, "definitions": {"forgetting": HOSTILE}},
            "link": {"transport": HOSTILE, "image_codec": HOSTILE},
            "costs": [{"name": HOSTILE, "value": 1.0, "unit": HOSTILE, "provenance": HOSTILE, "source": HOSTILE}],
            "profile": HOSTILE,
            "notes": [HOSTILE],
        },
    )
    out = build_report([run, write_run(tmp_path / "other")], tmp_path)
    page = Page.read(out)
    assert len(page.scripts) == 2
    assert not any(name == "img" or "onerror" in attributes for name, attributes in page.elements)
    assert HOSTILE in page.text
    names = [str(name) for trace in page.traces() if trace["type"] == "bar" for name in trace["y"]]
    assert any("&lt;img src=x" in name for name in names)
    assert not any("<img" in name for name in names)  # plotly reads markup in labels
    templates = [trace.get("hovertemplate", "") for trace in page.traces()]
    assert not any("alert" in template for template in templates)


@pytest.mark.parametrize(
    "part",
    ["data", "scenario", "cloud", "edge", "execution", "update", "link", "costs", "image_bytes", "profile", "notes"],
)
def test_any_part_may_be_absent(tmp_path: Path, part: str) -> None:
    run = write_run(tmp_path / "run", results={part: None})
    text = Page.read(build_report([run], tmp_path)).text
    for title, needs in (
        ("Edge and cloud together", "execution"),
        ("Update on the device", "update"),
        ("Measured link", "link"),
    ):
        assert (title in text) == (part != needs)


def test_a_run_with_nothing_but_its_name_makes_a_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"schema": "eccsnn.run/1", "status": "finished"}))
    (run / "results.json").write_text(json.dumps({"schema": "eccsnn.results/1"}))
    (run / "config.yaml").write_text("")
    assert "finished" in Page.read(build_report([run], tmp_path)).text


@pytest.mark.parametrize(
    ("status", "words"),
    [("running", "has not finished"), ("interrupted", "was interrupted"), ("failed", "This run failed")],
)
def test_an_unfinished_run_is_said_to_be_unfinished(tmp_path: Path, status: str, words: str) -> None:
    run = write_run(tmp_path / "run", run={"status": status, "error": "ValueError: loss is <NaN>"}, epochs=3)
    (run / "results.json").unlink()
    page = Page.read(build_report([run], tmp_path))
    assert words in page.text
    assert "ValueError: loss is <NaN>" in page.text
    assert "Last recorded: stage update_1, epoch 3 of 3" in page.text
    assert any(attributes.get("role") == "alert" for _, attributes in page.elements)


def test_a_finished_run_has_no_warning(one: Path) -> None:
    assert not any(attributes.get("role") == "alert" for _, attributes in Page.read(one).elements)


def test_numbers_that_are_not_numbers_are_shown_as_missing(tmp_path: Path) -> None:
    nan = float("nan")
    learned = {"edge_accuracy": nan, "cloud_accuracy": nan, "chosen": {"accuracy": nan, "threshold": nan}}
    run = write_run(
        tmp_path / "run",
        results={
            "execution": [{"tasks_learned": 1, "classes_learned": [0], "sets": {"all": learned}}],
            "update": {"accuracy_matrix": [[nan], [0.5, None]], "last_accuracy": nan, "forgetting": nan},
            "edge": {"firing_rates": {"lif1": nan}},
        },
    )
    page = Page.read(build_report([run], tmp_path))
    assert not re.search(r"\bnan\b", page.text, flags=re.I)
    table = next(rows for caption, rows in page.tables.items() if caption.startswith("All classes, after task 1"))
    assert table[1][:4] == ["Edge only", "–", "0.00%", "–"]


def test_several_runs_are_compared_first_and_folded_below(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run{seed}", seed=seed) for seed in range(3)]
    page = Page.read(build_report(runs, tmp_path))
    assert "3 runs compared" in page.text
    folded = [attributes for name, attributes in page.elements if attributes.get("class") == "run-fold"]
    assert len(folded) == 3
    assert not any("open" in attributes for attributes in folded)
