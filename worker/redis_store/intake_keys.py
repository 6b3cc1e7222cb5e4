"""Where the intake lies in Redis: a place for each lane, and one for pushes."""

from worker.domain.lane import LANES

PUSHES = "push"
"""The place for pushes; each lane is a place of its own name."""
PLACES = (*LANES, PUSHES)


def keys_of(place: str) -> tuple[str, str, str]:
    return f"sms:intake:{place}", f"sms:intake:{place}:waiting", f"sms:intake:{place}:taken"


def parked_key(place: str) -> str:
    """The accounts that something is parked for, and with `:ACCOUNT` behind it what that is; each by the time when it ends."""
    return f"sms:intake:{place}:parked"


def stuck_key(place: str) -> str:
    """Since when there has been something that was given out in vain, and nothing was taken out: as in no order of its own."""
    return f"sms:intake:{place}:stuck"
