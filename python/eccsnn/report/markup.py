"""HTML from small functions: every string is escaped unless it is already an `Html`."""

from collections.abc import Iterable
from html import escape
from typing import Any

VOID = frozenset({"br", "hr", "img", "link", "meta"})


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def html(value: Any) -> Html:
    """A value as HTML text.

    >>> html("a < b")
    'a &lt; b'
    """
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[Any], separator: str = "") -> Html:
    """Parts one after the other, escaped where they are not `Html`."""
    return Html(html(separator).join(html(part) for part in parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element; ``class_`` and ``aria_label`` become ``class`` and ``aria-label``; None and False drop an attribute.

    >>> tag("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    written = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(key if value is True else f'{key}="{escape(str(value))}"')
    head = f"<{' '.join(written)}>"
    return Html(head if name in VOID else f"{head}{join(children)}</{name}>")


def details(summary: Any, *children: Any, class_: str | None = None) -> Html:
    """A block that opens on a click."""
    return tag("details", tag("summary", summary), *children, class_=class_)
