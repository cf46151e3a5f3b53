# Which credential the board logs in with: one that is to replace another, one that came from the hub, and the one of
# config.json. Whichever is refused makes way for the next.
from mh import agent, slots


def chosen():
    known = [one for one in (slots.state.get("next"), slots.state.get("secret"), agent.config["credential"]) if one]
    if agent.turn >= len(known):
        agent.turn = 0
    return known[agent.turn]


def take(message):
    """A new one: it is written down, and used for the next connection, which tells the hub that it arrived."""
    secret = message.get("secret")
    if not isinstance(secret, str) or not 0 < len(secret) <= 200 or any(ord(char) < 32 for char in secret):
        agent.say("a credential that cannot be used")
        return
    before = slots.state.get("next")
    slots.state["next"] = secret
    if slots.save():
        agent.turn = 0
        agent.say("there is a new credential")
        agent.client.close()
    else:
        slots.state["next"] = before
        agent.say("the flash is full: the new credential cannot be written")
