# What a board keeps on its flash: two slots for scripts, and the state.
import gc
import io
import json
import os
import sys

# Longest error and traceback that are kept, in bytes.
TRACE_MAX = 1000
CRASH = "mh_crash.txt"
TRACE = "mh_trace.txt"
# What makes room for the state when a script has filled the flash.
SPARE = "mh_spare.txt"

state = {"number": 0}
# What runs in this life, why it began, and whether the board slept before.
running = None
reset = ""
slept = False


def read(name):
    """The text of a file; None if there is no such file."""
    try:
        with open(name) as file:
            return file.read()
    except OSError:
        return None


def write(name, text, mode="w"):
    """Writes a file, or to its end with the mode "a". False when the flash is full."""
    try:
        with open(name, mode) as file:
            return file.write(text) == len(text)
    except OSError:
        pass
    if mode == "a" or not size(SPARE):
        return False
    remove(SPARE)
    return write(name, text)


def remove(name):
    try:
        os.remove(name)
    except OSError:
        pass


def size(name):
    """How many bytes a file has; 0 if there is no such file."""
    try:
        return os.stat(name)[6]
    except OSError:
        return 0


# The state is written in turns to two files, so that one of them is whole whenever the power goes.
def state_file(number):
    return "mh_state%d.json" % (number % 2)


def load():
    for number in (0, 1):
        try:
            found = json.loads(read(state_file(number)) or "")
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("number", 0) > state["number"]:
            state.clear()
            state.update(found)


def save():
    state["number"] += 1
    done = write(state_file(state["number"]), json.dumps(state))
    if hasattr(os, "sync"):
        os.sync()
    return done


def slot_module(slot):
    return "mh_slot%d" % slot


def slot_file(slot):
    return slot_module(slot) + ".py"


def restart():
    """Restarts the board on the agent's own account, which is no crash."""
    import machine

    state["own"] = True
    save()
    machine.reset()


class Keeper(io.IOBase):
    """A file in memory of at most so many bytes."""

    def __init__(self, most):
        self.kept, self.most = bytearray(), most

    def write(self, part):
        self.kept += part[: self.most - len(self.kept)]
        return len(part)


def traceback(error):
    kept = Keeper(TRACE_MAX)
    try:
        sys.print_exception(error, kept)
    except (MemoryError, RuntimeError):
        pass
    return str(kept.kept, "utf-8") or repr(error)


def crashed(error):
    """Ends this life because of an error in the script. The next one reads what happened."""
    import machine

    sys.modules.clear()
    gc.collect()
    text = traceback(error)
    # The one before makes room.
    remove(TRACE)
    write(CRASH, ("%s: %s" % (type(error).__name__, error))[:200].replace("\n", " ") + "\n" + text)
    sys.stdout.write("motehub: crash: " + text)
    machine.reset()


def last_trace():
    """The traceback of the last crash, if the script left one."""
    return (read(TRACE) or "").partition("\n")[2]
