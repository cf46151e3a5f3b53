# Reports the end of a script's task. The report stays in the state until the hub has it, so that it outlasts a power
# cut.
from mh import agent, slots

waits = None


def say(digest, state, reason=None):
    agent.say("script %s: %s%s" % (digest[7:19], state, ", " + reason if reason else ""))
    slots.state["report"] = {"digest": digest, "state": state, "reason": reason}
    slots.save()
    again()


def again():
    """Sends what waits there."""
    report = slots.state.get("report")
    if not report or agent.reporting is report:
        return
    agent.reporting = report
    message = {key: value for key, value in report.items() if value is not None}
    if message.pop("traceback", None):
        message["traceback"] = slots.last_trace()

    def done():
        agent.reporting = None
        if slots.state.get("report") is not report:
            return agent.part("report").again()
        slots.state["report"] = None
        if slots.state.get("safe") and slots.state.get("good"):
            agent.say("the hub knows; the last good script runs again")
            slots.state["safe"] = None
            return slots.restart()
        slots.save()

    agent.send("task", message, True, done)
