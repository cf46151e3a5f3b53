# What is done right after connecting: the credential that worked is kept, and the board announces itself.
import gc
import os
import sys

from mh import agent, slots


def connected():
    state = slots.state
    agent.say("connected as " + agent.config["device"])
    agent.reached = True
    if agent.secret == state.get("next"):
        state["secret"], state["next"] = agent.secret, None
        slots.save()
        agent.say("the new credential works")
    elif agent.turn > 0:
        # Those before it were refused.
        state["next"] = None
        state["secret"] = agent.secret if agent.secret != agent.config["credential"] else None
        slots.save()
        agent.say("the new credential was refused; the old one works")
    agent.turn = 0


def announce():
    state, attributes = slots.state, dict(agent.config["attributes"])
    if agent.commands:
        attributes["commands"] = " ".join(sorted(agent.commands))[:256]
    gc.collect()
    agent.send(
        "announce",
        {
            "protocol": 1,
            "model": sys.platform,
            "firmware": "motehub-micropython",
            "version": agent.VERSION,
            "reset": slots.reset,
            "capabilities": ["micropython"] + agent.config["capabilities"],
            "free_memory": gc.mem_free(),
            "running": slots.running["digest"] if slots.running else None,
            "safe_mode": bool(state.get("safe")),
            "attributes": attributes,
        },
        True,
        None,
        True,
    )
    agent.part("report").again()
