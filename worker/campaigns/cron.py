"""Cron lines: the minute, hour, day of the month, month and day of the week at which a campaign goes, in a time zone.

By cronsim, which does as Debian's cron does: where the clock is put forward, what would have been due in the hour that is left
out is due right after it; where it is put back, it is due once.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


class BadCron(ValueError):
    """The line is not a cron line, or names a day that never comes; the text says what is wrong, and how one is written."""


def next_time(line: str, zone: ZoneInfo, after: datetime) -> datetime:
    """The first time after `after` that the line names. Raises BadCron."""
    try:
        if len(line.split()) != 5:
            raise CronSimError("it has not five fields")  # cronsim would take a sixth for seconds
        return next(CronSim(line, after.astimezone(zone))).astimezone(UTC)
    except (CronSimError, StopIteration) as why:
        reason = str(why).lower() or "it never comes"
        raise BadCron(
            f"{line!r} is not a cron line ({reason}); "
            "write one like `0 9 * * 1-5`: minute, hour, day of the month, month, day of the week"
        ) from why
