"""The settings of the lanes and accounts as one value: what may be sent, when, until when, and to how many at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from worker.domain.hours import earliest
from worker.domain.lane import Lane
from worker.domain.message import Message
from worker.domain.rate import Rate


def expires_at(message: Message, lane: Lane) -> datetime:
    """The time (aware) when the message expires: by its own `valid_for`, or else by the validity of its lane."""
    return (message.at or message.created_at) + (message.valid_for or lane.validity)


@dataclass(frozen=True, slots=True)
class AccountPolicy:
    """The policy of one account: its id in the ledger, the time zone of its hours, and its rate at the gateway."""

    id: int
    time_zone: ZoneInfo
    rate: Rate


@dataclass(frozen=True)
class Policy:
    """The rules of one process. It leaves accounts that are not in it to other processes."""

    lanes: Mapping[str, Lane]
    """The lanes, by name."""
    accounts: Mapping[str, AccountPolicy]
    """The accounts, by name."""
    max_mobiles: int
    """The mobiles of one call, also where the rate of its account allows more."""

    @cached_property
    def account_ids(self) -> Mapping[str, int]:
        """The id in the ledger of each account, by name."""
        return {name: account.id for name, account in self.accounts.items()}

    @cached_property
    def _time_zones(self) -> Mapping[int, ZoneInfo]:
        return {account.id: account.time_zone for account in self.accounts.values()}

    def may_send(self, account_id: int, lane: Lane, now: datetime) -> bool:
        """Whether the account is one of ours, and `now` is within the hours of the lane in its time zone."""
        zone = self._time_zones.get(account_id)
        return zone is not None and earliest(lane.hours, zone, now) == now

    def lanes_open(self, account_id: int, now: datetime) -> list[str]:
        """The names of the lanes in which the account may send now, the most urgent first."""
        return [lane.name for lane in self.lanes.values() if self.may_send(account_id, lane, now)]

    def due_at(self, message: Message, now: datetime) -> datetime:
        """The first moment from `now` on, and from the message's own time on, that is within the hours of its lane."""
        zone = self.accounts[message.account].time_zone
        return earliest(self.lanes[message.lane].hours, zone, message.at or now)

    def expires_at(self, message: Message) -> datetime:
        """The function `expires_at`, with the lane of the message."""
        return expires_at(message, self.lanes[message.lane])

    def largest_call(self, account: str, lane: str) -> int:
        """How many mobiles a call may have, so that the rate of its account always has room for it."""
        return self.accounts[account].rate.largest_call(self.max_mobiles, self.lanes[lane].floor)
