"""The keys of the intake in Redis: a place for each lane, and one for pushes."""

from worker.domain.lane import LANES

PUSHES = "push"
"""The place for pushes. The place of a lane has the name of the lane."""
PLACES = (*LANES, PUSHES)


def keys_of(place: str) -> tuple[str, str, str]:
    """The hash of the items, and the sorted sets of the ids that wait and of those that workers have taken."""
    return f"sms:intake:{place}", f"sms:intake:{place}:waiting", f"sms:intake:{place}:taken"


def parked_key(place: str) -> str:
    """The sorted set of the accounts that have parked items. With `:ACCOUNT` behind it, the sorted set of their ids.

    The scores are the times when validity ends: of an item, or of the first item of an account.
    """
    return f"sms:intake:{place}:parked"


def stuck_key(place: str) -> str:
    """The time since which workers have taken items in vain, and none was removed."""
    return f"sms:intake:{place}:stuck"
