"""What a taken call comes to: a status report for each mobile, and the reply that a mobile will make."""

from simulator.fault_script import Conduct
from simulator.push_xml import Reply, Report
from simulator.rules import Call

DELIVERED, UNDELIVERED = "1", "-1"


def pushes_of(call: Call, conduct: Conduct) -> tuple[tuple[Report, ...], tuple[Reply, ...]]:
    """The reports (each with the reply that follows it), and the replies of those mobiles that get no report."""
    faults, rule = conduct.behaviour.pushes, conduct.reply_rule(call.content)
    reports: list[Report] = []
    replies: list[Reply] = []
    for index, mobile in enumerate(call.mobiles):
        who = (call.account.epr_id, call.account.user_id, mobile, str(call.msg_id))
        reply = rule.reply if rule and (rule.mobiles == "each" or index == 0) else None
        if not conduct.hits(faults.no_report, mobile):
            status = UNDELIVERED if conduct.hits(faults.undelivered, mobile) else DELIVERED
            reports.append(Report(*who, status, reply))
        elif reply is not None:
            replies.append(Reply(*who, reply))
    return tuple(reports), tuple(replies)
