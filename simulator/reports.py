"""The results of a taken call: a status report for each mobile, and the replies that mobiles will send."""

from simulator.fault_script import FaultScript
from simulator.push_xml import Reply, Report
from simulator.rules import Call

DELIVERED, UNDELIVERED = "1", "-1"


def results_of(call: Call, fault_script: FaultScript) -> tuple[tuple[Report, ...], tuple[Reply, ...]]:
    """The reports, each with the reply that follows it, and the replies of mobiles that get no report."""
    faults, rule = fault_script.behaviour.pushes, fault_script.reply_rule(call.content)
    reports: list[Report] = []
    replies: list[Reply] = []
    for index, mobile in enumerate(call.mobiles):
        ids = (call.account.epr_id, call.account.user_id, mobile, str(call.msg_id))
        reply = rule.reply if rule and (rule.mobiles == "each" or index == 0) else None
        if not fault_script.hits(faults.no_report, mobile):
            status = UNDELIVERED if fault_script.hits(faults.undelivered, mobile) else DELIVERED
            reports.append(Report(*ids, status, reply))
        elif reply is not None:
            replies.append(Reply(*ids, reply))
    return tuple(reports), tuple(replies)
