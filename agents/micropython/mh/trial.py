# The end of a trial.
from mh import agent, slots


def passed():
    state = slots.state
    trial = state["trial"]
    good = {"slot": trial["slot"], "digest": trial["digest"]}
    state["prev"], state["good"], state["trial"] = state.get("good"), good, None
    state["crashes"] = 0
    slots.running = good
    agent.part("report").say(trial["digest"], "Done")
    agent.forget("trial", "report")


def failed(reason):
    state = slots.state
    digest = state["trial"]["digest"]
    state["trial"] = None
    state["report"] = {"digest": digest, "state": "Failed", "reason": reason}
    slots.restart()
