"""A campaign to test with: its audience, the verbs that beat and the workers call, and a clock that the test sets."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from os import urandom
from zoneinfo import ZoneInfo

from ledger_driver import LANES, NOW, Ledger, mobile, policy
from sqlalchemy import Connection, select

from worker.campaigns.draft import draft, start_time
from worker.campaigns.feed import Feeder, FeedOutcome, feed
from worker.campaigns.spec import CampaignSpec
from worker.campaigns.start_due import start_due
from worker.campaigns.window import hours_of_campaign
from worker.domain.campaigns.audience import Member, Origin
from worker.domain.campaigns.campaign import Campaign, Run, Window, window
from worker.domain.campaigns.figures import Figures
from worker.domain.campaigns.report import CampaignReport
from worker.domain.message import Message
from worker.domain.status import State
from worker.domain.submission import Claimed, Recorded
from worker.ledger import tables as t
from worker.ledger.campaigns import audiences, campaigns, runs
from worker.ledger.campaigns.figures import campaign_figures, campaign_report
from worker.ledger.campaigns.replies import CampaignReply, find_replies
from worker.ledger.engine import reading
from worker.sending.accept import Reception, accept

ZONE = ZoneInfo("Asia/Shanghai")
SPEC = CampaignSpec("spring", "people", "春装上市，拒收请回复R")
PERSONAL = replace(SPEC, content="{{ 姓名 }}您好，春装上市，拒收请回复R")
REPORT_WAIT = timedelta(hours=72)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
AT_2059 = datetime(2026, 11, 22, 12, 59, tzinfo=UTC)
AT_2100 = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
AT_0800 = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
"""The time in UTC; the name has the hour in ZONE."""


def window_of(campaign: Campaign, at: datetime) -> Window | None:
    return window(hours_of_campaign(campaign, LANES[campaign.lane], ZONE), at)


class Campaigns:
    """The campaigns of a ledger, at the time NOW unless told otherwise. `rung` are the lanes that were rung."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.engine = ledger.engine
        self.rung: list[str] = []

    def audience(self, count: int, name: str = "people", fields: Sequence[Sequence[str]] = ()) -> None:
        """Adds an audience of that many mobiles, on the lines from 2 on. Each has a name, unless `fields` are given."""
        given = fields or [(mobile(number), f"客户{number}") for number in range(count)]
        header = ("mobile", "姓名", *(f"c{number}" for number in range(2, len(given[0]))))
        people = [Member(line, row[0], tuple(row)) for line, row in enumerate(given, 2)]
        with self.engine.begin() as connection:
            audience_id = audiences.begin(connection, name, Origin("people.csv", header, "mobile"), by="test", now=NOW)
            assert audience_id is not None
            audiences.add(connection, audience_id, people)
            audiences.finish(connection, audience_id, good=len(people), repeats=0, refused=0)

    def draft(self, spec: CampaignSpec = SPEC, now: datetime = NOW) -> Campaign:
        with self.engine.begin() as connection:
            draft(connection, spec, lanes=LANES, zones={"default": ZONE}, by="operator:alice", now=now)
        return self.find(spec.name)

    def start(self, spec: CampaignSpec = SPEC, now: datetime = NOW) -> Campaign:
        campaign = self.draft(spec, now)
        with self.engine.begin() as connection:
            assert campaigns.start(connection, campaign.id, next_at=start_time(campaign, now=now), by="alice", now=now)
        return self.find(spec.name)

    def find(self, name: str = "spring") -> Campaign:
        with self.engine.connect() as connection:
            campaign = campaigns.find(connection, name)
        assert campaign is not None
        return campaign

    def runs(self) -> list[Run]:
        with self.engine.connect() as connection:
            campaign_ids = connection.execute(select(t.campaigns.c.id)).scalars().all()
            return [run for campaign_id in campaign_ids for run in runs.listed(connection, campaign_id)]

    def pause(self, now: datetime = NOW, reason: str = "wrong price") -> bool:
        campaign_id = self.find().id
        with self.engine.begin() as connection:
            return campaigns.pause(connection, campaign_id, reason=reason, by="alice", now=now)

    def resume(self, now: datetime = NOW) -> bool:
        campaign_id = self.find().id
        with self.engine.begin() as connection:
            return campaigns.resume(connection, campaign_id, by="alice", now=now)

    def cancel(self, now: datetime = NOW) -> bool:
        campaign_id = self.find().id
        with self.engine.begin() as connection:
            return campaigns.cancel(connection, campaign_id, reason="closed", by="alice", now=now)

    def tick(self, now: datetime = NOW) -> None:
        """Does for campaigns what beat has a worker do every second."""
        start_due(self.engine, window=window_of, now=now)
        with self.engine.connect() as connection:
            running = runs.running(connection, now=now)
        for run_id, _ in running:
            self.feed(run_id, now)

    def feed(
        self,
        run_id: int,
        now: datetime = NOW,
        own_accounts: Collection[str] = ("default",),
        known_accounts: Collection[str] | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> FeedOutcome:
        feeder = Feeder(
            self.engine,
            accept=partial(self._accept, now),
            window=window_of,
            ring=self.rung.append,
            own_accounts=own_accounts,
            known_accounts=lambda: known_accounts,
            random=urandom,
            clock=clock or (lambda: now),
        )
        return feed(feeder, run_id)

    def _accept(self, now: datetime, messages: Sequence[Message], only_if: Callable[[Connection], bool]) -> bool:
        rules = policy(self.ledger.account_ids)
        reception = Reception(self.engine, self.ledger.msg_ids, rules, room=dict.fromkeys, count=len)
        return accept(reception, messages, now=now, only_if=only_if)

    def mobiles(self) -> list[str]:
        """The mobiles that have become recipients."""
        with self.engine.connect() as connection:
            return list(connection.execute(select(t.recipients.c.mobile)).scalars())

    def figures(self, runs: Sequence[Run] | None = None, now: datetime = NOW) -> Figures:
        """The figures of the campaign, or of some of its runs."""
        campaign, wanted = self.find(), self.runs() if runs is None else runs
        with reading(self.engine) as connection:
            return campaign_figures(connection, campaign, wanted, report_wait=REPORT_WAIT, now=now)

    def report(self, now: datetime = NOW) -> CampaignReport:
        campaign, of_campaign = self.find(), self.runs()
        with reading(self.engine) as connection:
            return campaign_report(connection, campaign, of_campaign, report_wait=REPORT_WAIT, now=now)

    def replies(self) -> list[CampaignReply]:
        campaign, of_campaign = self.find(), self.runs()
        with reading(self.engine) as connection:
            return list(find_replies(connection, campaign, of_campaign, report_wait=REPORT_WAIT, now=NOW))

    def start_personal(self, count: int, **changes: object) -> None:
        """Starts a campaign of that many members, with a text of its own for each."""
        self.audience(count)
        self.start(replace(PERSONAL, **changes))
        self.tick()

    def call(
        self, *states: State, now: datetime = NOW, result: str | None = "1", tips: str | None = "成功"
    ) -> list[Claimed]:
        """Calls what is due: the first calls with these outcomes, and the rest accepted."""
        claimed = self.ledger.pull(now, lane="marketing").claimed
        ends = [*states, *[State.ACCEPTED] * len(claimed)]
        self.ledger.record(
            *(
                Recorded(call.id, call.attempt, end, None, result, tips)
                for call, end in zip(claimed, ends, strict=False)
            ),
            now=now,
        )
        return claimed


def pull(ledger: Ledger, now: datetime = NOW, most: int = 10_000) -> list[Claimed]:
    return list(ledger.pull(now, lane="marketing", most=most).claimed)


def accepted(ledger: Ledger, claimed: list[Claimed], now: datetime = NOW) -> None:
    if claimed:
        ledger.record(
            *(Recorded(call.id, call.attempt, State.ACCEPTED, None, "1", "成功") for call in claimed), now=now
        )


def send_all(people: Campaigns, now: datetime = NOW) -> list[Claimed]:
    """Ticks and pulls until nothing is left, as fast as can be."""
    sent: list[Claimed] = []
    while True:
        people.tick(now)
        claimed = pull(people.ledger, now)
        accepted(people.ledger, claimed, now)
        sent += claimed
        if not claimed:
            return sent
