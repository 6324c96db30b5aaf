"""Recordings of event cameras.

`types` has `Events`, what every reader returns; `read_events`, `iterate_events` and `write_events` know the formats of
the field's data sets; `frames` makes tensors of them.
"""

from eccsnn.data.events.types import Events, concatenate

__all__ = ["Events", "concatenate"]
