"""A length of time in words."""

from datetime import timedelta

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def duration_in_words(duration: timedelta) -> str:
    """`1 d 2 h`, `3 min 20 s`: the two greatest units, and a second at the least."""
    left, parts = max(1, round(duration.total_seconds())), []
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
