"""The committed page is the one that the committed measurements make."""

from pathlib import Path

from eccsnn.bench.render import page, tables

ROOT = Path(__file__).parents[3]


def test_the_page_is_made_from_the_json_files():
    files = sorted((ROOT / "benchmarks").glob("*.json"))
    assert len(files) >= 5
    found, errors = tables(files)
    assert errors == []
    assert page(found) == (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
