# Runs a command once, and answers. Which ids were run stands in a journal on flash, so that a repeated command is
# answered and not run again, also after a restart.
import json
import os

from mh import agent, slots

# The journal is two files of so many commands; when the newer is full, it takes the place of the older.
NEWER = "mh_done.txt"
OLDER = "mh_done0.txt"
IDS_MAX = 16
REPLY_MAX = 900


def look_up(name, wanted):
    """What the journal has on an id (an empty text when it was begun), and how many ids the file has."""
    found, ids = None, 0
    try:
        with open(name) as file:
            for entry in file:
                known, _, reply = entry.rstrip("\n").partition(" ")
                ids += reply == ""
                if known == wanted and entry.endswith("\n"):
                    found = reply
    except OSError:
        pass
    return found, ids


def failed(number, why):
    return {"id": number, "ok": False, "error": why[:300]}


def answer(reply):
    try:
        text = json.dumps(reply)
    except (TypeError, ValueError):
        reply = failed(reply["id"], "the result cannot be said in JSON")
        text = json.dumps(reply)
    if len(text) > REPLY_MAX:
        reply = failed(reply["id"], "the result is longer than %d bytes" % REPLY_MAX)
        text = json.dumps(reply)
    slots.write(NEWER, "%s %s\n" % (reply["id"], text), "a")
    agent.send("reply", reply, True)


def files(_):
    return sorted(name for name in os.listdir() if not name.startswith("mh"))


def remove_file(name):
    plain = str(name).lstrip("./")
    if plain.startswith("mh") or plain.split(".")[0] in ("main", "motehub", "config"):
        raise ValueError("the file %s belongs to the agent" % plain)
    os.remove(plain)


def restart(_):
    import asyncio

    async def soon():
        await asyncio.sleep(1)
        slots.restart()

    asyncio.create_task(soon())


async def run(command):
    number, name = command.get("id"), command.get("name")
    if not isinstance(number, str) or not 0 < len(number) <= 64 or " " in number:
        return agent.say("a command without an id")
    found, ids = look_up(NEWER, number)
    if found is None:
        found, _ = look_up(OLDER, number)
    if found is not None:
        known = json.loads(found) if found else failed(number, "the board restarted while it ran this command")
        agent.send("reply", known, True)
        return
    if ids >= IDS_MAX:
        slots.remove(OLDER)
        os.rename(NEWER, OLDER)
    # What makes room runs without a note: twice is as good as once.
    if not slots.write(NEWER, number + " \n", "a") and name != "remove_file":
        agent.send("reply", failed(number, "the flash is full: the command cannot be noted"), True)
        return
    act = agent.commands.get(name) or {"files": files, "remove_file": remove_file, "restart": restart}.get(name)
    if not act:
        names = ", ".join(sorted(agent.commands)) or "none"
        return answer(failed(number, "no such command; the script has " + names))
    if command.get("ttl", 1) <= 0:
        return answer(failed(number, "the command came too late"))
    try:
        result = act(command.get("args"))
        if hasattr(result, "send"):
            result = await result
        reply = {"id": number, "ok": True, "result": result}
    except Exception as error:
        reply = failed(number, repr(error))
    answer(reply)
