"""A report taken apart for the tests: tags, tables, texts and plots."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Parses a page; an element that is closed in the wrong place raises ValueError.

    Attributes:
        elements: `(name, attributes)` of every element.
        tables: Caption to rows, each a list of cell texts, the header row first.
        plots: The JSON of every plot.
        scripts: The text of every script that runs.
        text: All text outside scripts and styles.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.plots: list[dict[str, Any]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        if self._open:
            raise ValueError(f"never closed: {self._open}")

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self._open.append((tag, dict(attrs)))
        self._texts.append("")
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])

    def handle_endtag(self, tag: str) -> None:
        name, attributes = self._open.pop()
        if name != tag:
            raise ValueError(f"<{name}> is closed by </{tag}>")
        text = self._texts.pop()
        if tag == "script":
            if attributes.get("type") == "application/json":
                self.plots.append(json.loads(text))
            else:
                self.scripts.append(text)
            return
        if tag == "style":
            return
        if tag in ("td", "th"):
            self._rows[-1].append(text)
        elif tag == "caption":
            self._caption = text
        elif tag == "table":
            self.tables[self._caption] = self._rows
        if self._texts:
            self._texts[-1] += text
        else:
            self.text += text

    def handle_data(self, data: str) -> None:
        if self._texts:
            self._texts[-1] += data

    def traces(self) -> list[dict[str, Any]]:
        return [trace for plot in self.plots for trace in plot["data"]]
