"""Help in error messages: the known name nearest to a mistyped one."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """Describes the known names, the nearest first: `did you mean 'tau'? known: tau, v_reset`.

    Example:
        >>> nearest("v_treshold", ["tau", "v_threshold"])
        "did you mean 'v_threshold'? known: tau, v_threshold"
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
