"""A recording to look at: an animated GIF, or a self-contained HTML page around one."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eccsnn.data.events.frames import window_frames
from eccsnn.data.events.summary import summarize
from eccsnn.data.events.types import Events
from eccsnn.errors import ConfigError, DataError
from eccsnn.whole_files import replacing

SUFFIXES = (".gif", ".html")
MAX_FRAMES = 2000
"""Frames of a GIF at most: more would take minutes to write and gigabytes to show."""
_BRIGHTER, _DARKER, _PAPER = (214, 39, 40), (31, 119, 180), (255, 255, 255)
_SHADES = 3


def play(events: Events, path: str | Path, *, window_us: int = 20_000, scale: int = 3, slowdown: float = 1.0) -> int:
    """Writes a recording as a film: brighter events red, darker ones blue, the deeper the more of them.

    Args:
        events: the recording.
        path: a file ending in .gif or .html.
        window_us: µs of events in a frame.
        scale: px of the film for one of the sensor.
        slowdown: how much longer the film takes than the recording did; frames last 20 ms at least.

    Returns:
        The number of frames.

    Raises:
        ConfigError: another suffix, no events, an argument out of range, or more than `MAX_FRAMES` frames.
        DataError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} ends in {path.suffix or 'nothing'!r}, expected {' or '.join(SUFFIXES)}")
    if len(events) == 0:
        raise ConfigError("the recording has no events; there is nothing to play")
    if window_us < 1 or not 1 <= scale <= 32 or not slowdown > 0:
        raise ConfigError(
            f"window_us is {window_us}, scale {scale}, slowdown {slowdown}; expected at least 1 us, 1 to 32 px, above 0"
        )
    wanted = -(-events.duration_us // window_us)
    if wanted > MAX_FRAMES:
        raise ConfigError(
            f"{events.duration_us} us in windows of {window_us} us are {wanted} frames, expected {MAX_FRAMES} at most; "
            "take a longer window"
        )
    frames = [_paint(frame, scale) for frame in window_frames(events, window_us).numpy()]
    buffer = io.BytesIO()
    duration_ms = max(20, round(window_us * slowdown / 1000))
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration_ms, loop=0)
    film = buffer.getvalue()
    content = film if path.suffix.lower() == ".gif" else _page(film, events, path.stem, window_us, duration_ms).encode()
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; choose another file or folder, or free some space"
        ) from error
    return len(frames)


def _paint(frame: npt.NDArray[np.int32], scale: int) -> Image.Image:
    """Counts `[2, H, W]` as an image of a palette: paper, then shades of darker and of brighter."""
    darker, brighter = np.minimum(frame, _SHADES)
    index = np.where(brighter >= darker, np.where(brighter > 0, _SHADES + brighter, 0), darker).astype(np.uint8)
    image = Image.fromarray(np.kron(index, np.ones((scale, scale), dtype=np.uint8)), mode="P")
    palette = [*_PAPER]
    for colour in (_DARKER, _BRIGHTER):
        for shade in range(1, _SHADES + 1):
            palette += [round(p + (c - p) * shade / _SHADES) for p, c in zip(_PAPER, colour, strict=True)]
    image.putpalette(palette)
    return image


def _page(film: bytes, events: Events, title: str, window_us: int, duration_ms: int) -> str:
    summary = summarize([events])
    rows = {
        "events": f"{summary.events:,}",
        "sensor": f"{summary.width} x {summary.height} px",
        "duration": f"{summary.duration_us / 1000:.1f} ms",
        "rate": f"{summary.rate_hz:,.0f} events/s",
        "brighter": f"{summary.brighter_share:.1%}",
        "colours": "red: brighter, blue: darker; the deeper, the more events",
        "a frame": f"{window_us / 1000:g} ms of events, shown for {duration_ms} ms",
    }
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    name = html.escape(title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title>
<style>body{{font-family:sans-serif;margin:2em}}th{{text-align:left;padding-right:1em}}img{{image-rendering:pixelated}}</style>
</head><body><h1>{name}</h1>
<img alt="events over time: red brighter, blue darker" src="data:image/gif;base64,{base64.b64encode(film).decode()}">
<table>{cells}</table></body></html>
"""
