"""Cron lines: the minute, hour, day of the month, month and day of the week at which a campaign goes, in a time zone.

cronsim reads the lines as Debian's cron does. Where the clock is put forward, a run in the missing hour is due right
after it. Where the clock is put back, a run in the repeated hour is due once.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


class BadCron(ValueError):
    """The line is not a cron line, or names a day that never comes.

    The text says what is wrong, and how to write one.
    """


def next_time(line: str, zone: ZoneInfo, after: datetime) -> datetime:
    """Returns the first time after `after` that the line names. Raises BadCron."""
    try:
        if len(line.split()) != 5:
            raise CronSimError("it has not five fields")  # cronsim would take a sixth for seconds
        return next(CronSim(line, after.astimezone(zone))).astimezone(UTC)
    except (CronSimError, StopIteration) as error:
        reason = str(error).lower() or "it never comes"
        raise BadCron(
            f"{line!r} is not a cron line ({reason}); "
            "write one like `0 9 * * 1-5`: minute, hour, day of the month, month, day of the week"
        ) from error
