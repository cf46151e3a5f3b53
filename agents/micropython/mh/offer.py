# An offer of a script: decides whether and where to fetch it, and starts it on trial when it is there.
import os

from mh import agent, slots

SCRIPT_MAX = 65536
# What stays free on the flash for the state.
SPARE_BYTES = 4096
HEX = "0123456789abcdef"
# How long the hub may take to hear that the script is about to start.
FAREWELL_SECONDS = 5


def is_digest(digest):
    is_text = isinstance(digest, str) and len(digest) == 71 and digest.startswith("sha256:")
    return is_text and all(char in HEX for char in digest[7:])


def free_bytes():
    try:
        found = os.statvfs("/" if slots.size("/flash") else ".")
        return found[0] * found[3]
    except OSError:
        return 1 << 30


async def take(offer):
    digest, size, path, state = offer.get("digest"), offer.get("size"), offer.get("path"), slots.state
    if not is_digest(digest):
        return agent.say("an offer without a digest")
    report, trial, good = state.get("report"), state.get("trial"), state.get("good")
    if report and report["digest"] == digest:
        # The hub does not know yet what became of it.
        return
    if trial and trial["digest"] == digest:
        agent.send("task", {"digest": digest, "state": "Applying"}, True)
        return
    if good and good["digest"] == digest and not trial and not state.get("safe"):
        return agent.part("report").say(digest, "Done")
    if not isinstance(size, int) or not 0 < size <= SCRIPT_MAX:
        return refuse(digest, "a script of %s bytes; 1 to %d are possible" % (size, SCRIPT_MAX))
    if not isinstance(path, str) or not path.startswith("/") or any(not 32 < ord(char) < 127 for char in path):
        return refuse(digest, "the path of the offer cannot be asked for")
    await fetched(digest, size, path, int(offer.get("health_window") or 30))


def refuse(digest, reason):
    agent.part("report").say(digest, "Failed", reason)
    agent.forget("report")


async def fetched(digest, size, path, window):
    state = slots.state
    good, prev, before = state.get("good"), state.get("prev"), state.get("fetch")
    slot = 2 if good and good["slot"] == 1 else 1
    name = slots.slot_file(slot)
    # What is there may be the beginning of this script, or all of it: the one that ran before.
    is_known = any(one and one["digest"] == digest and one["slot"] == slot for one in (before, prev))
    if not is_known or slots.size(name) > size:
        slots.remove(name)
    at = slots.size(name)
    state["fetch"], state["prev"], state["trial"] = {"digest": digest, "slot": slot}, None, None
    slots.save()
    job = agent.fetching = {"digest": digest, "size": size, "path": path, "name": name, "cancelled": False}
    reason = "goes on at byte %d of %d" % (at, size) if at else None
    agent.say("script %s: Fetching" % digest[7:19])
    agent.send("task", {"digest": digest, "state": "Fetching", "reason": reason}, True)
    free = free_bytes()
    if free < size - at + SPARE_BYTES:
        problem = "the flash is full: the script needs %d bytes, %d are free" % (size - at, free)
    else:
        problem = await agent.part("fetch").fetch(job)
        if problem == "wrong digest" and at:
            # What was there before the break may be to blame: once more from the start.
            slots.remove(name)
            problem = await agent.part("fetch").fetch(job)
    agent.forget("fetch")
    agent.fetching = state["fetch"] = None
    if job["cancelled"] or problem:
        slots.remove(name)
        slots.save()
        if job["cancelled"]:
            agent.say("the offer was withdrawn")
        else:
            refuse(digest, problem)
        return settle()
    state["trial"] = {"slot": slot, "digest": digest, "window": window}
    state["safe"], state["crashes"] = None, 0
    if not slots.save():
        state["trial"] = None
        slots.remove(name)
        return refuse(digest, "the flash is full: the state cannot be written")
    await farewell(digest)


def settle():
    """A script on trial may be running though its slot has been given away; then the good one comes back."""
    good = slots.state.get("good")
    if slots.running and slots.running["digest"] != (good and good["digest"]) and not slots.state.get("safe"):
        slots.restart()


async def farewell(digest):
    import asyncio

    agent.say("script %s: Applying" % digest[7:19])
    if agent.stop:
        try:
            agent.stop()
        except Exception as error:
            agent.say("the script's stop: %r" % error)
    agent.send("task", {"digest": digest, "state": "Applying"}, True, slots.restart)
    await asyncio.sleep(FAREWELL_SECONDS)
    slots.restart()
