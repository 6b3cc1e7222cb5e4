"""What people wrote back to a campaign, and its recipients, one by one."""

from datetime import timedelta

from campaign_driver import SPEC, Campaigns
from ledger_driver import NOW, mobile, reply_push
from sqlalchemy import select

from worker.ledger import tables as t
from worker.ledger.campaigns.recipients import recipient_rows
from worker.ledger.dialect import ROWS
from worker.ledger.engine import reading


def test_replies_belong_to_the_run_whose_message_they_answer(people: Campaigns) -> None:
    people.start_personal(3)
    first, second, third = people.call()
    to, msg_id = first.mobiles[0], str(first.msg_id)
    people.ledger.push(
        reply_push(
            (to, msg_id, "好的"),
            (second.mobiles[0], str(second.msg_id), "T"),
            (to, f"0{msg_id}", "nobody sent that"),
            (to, "99999999999999999999", "nor that"),
            (to, "x", "nor that"),
            (third.mobiles[0], msg_id, "that was sent to somebody else"),
        )
    )
    assert (people.figures().replies, people.figures().optouts) == (2, 1)
    replies = people.replies()
    assert {(reply.mobile, reply.content, reply.optout) for reply in replies} == {
        (to, "好的", False),
        (second.mobiles[0], "T", True),
    }
    with people.engine.connect() as connection:
        ids = dict(connection.execute(select(t.recipients.c.mobile, t.messages.c.public_id).join(t.messages)).all())
    assert all(reply.message == ids[reply.mobile] for reply in replies)


def test_the_newest_reply_comes_first_and_a_repeated_one_comes_once(people: Campaigns) -> None:
    people.start_personal(1)
    [call] = people.call()
    for minutes, content in ((1, "一"), (2, "二"), (3, "一"), (4, "三")):
        at = NOW + timedelta(minutes=minutes)
        people.ledger.push(reply_push((call.mobiles[0], str(call.msg_id), content)), received_at=at)
    assert [reply.content for reply in people.replies()] == ["三", "二", "一"]


def test_replies_and_recipients_come_in_pages_without_a_gap(people: Campaigns) -> None:
    many = 2 * ROWS + 10
    people.audience(many)
    people.start(SPEC)
    people.tick()
    claimed = people.ledger.pull(NOW, lane="marketing").claimed
    people.ledger.push(reply_push(*((to, str(call.msg_id), "好") for call in claimed for to in call.mobiles)))
    senders = [reply.mobile for reply in people.replies()]
    runs = people.runs()
    with reading(people.engine) as connection:
        rows = [row.mobile for row in recipient_rows(connection, runs)]
    everybody = sorted(map(mobile, range(many)))
    assert sorted(senders) == sorted(rows) == everybody
