"""Recordings of event cameras.

`types` has `Events`, what every reader returns; `files` reads and writes the formats of the field's data sets;
`frames` makes tensors of events.
"""

from eccsnn.data.events.faults import POLICIES, Faults
from eccsnn.data.events.files import FORMATS, guess_format, iterate_events, read_events, write_events
from eccsnn.data.events.types import Events, concatenate

__all__ = [
    "FORMATS",
    "POLICIES",
    "Events",
    "Faults",
    "concatenate",
    "guess_format",
    "iterate_events",
    "read_events",
    "write_events",
]
