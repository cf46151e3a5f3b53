# Decides at each boot what runs, and counts crashes.
import os

import machine

from mh import slots

# So many crashes without a quiet minute between them put the board into safe mode; so many crashes of a script on
# trial, however slow, bring the last good one back.
CRASHES_MAX = 3
SPARE_BYTES = 4096


def named(cause):
    for name, word in (
        ("PWRON_RESET", "power on"),
        ("HARD_RESET", "reset button"),
        ("WDT_RESET", "watchdog"),
        ("DEEPSLEEP_RESET", "deep sleep"),
        ("SOFT_RESET", "restart"),
    ):
        if getattr(machine, name, None) == cause:
            return word
    return "unknown"


def blame():
    """Why the last life ended, if the script is to blame."""
    own = slots.state.pop("own", None)
    if own:
        slots.save()
    text = slots.read(slots.CRASH)
    if text is not None:
        os.rename(slots.CRASH, slots.TRACE)
        return text.partition("\n")[0] or "an error without a message"
    reason = None
    if slots.reset == "watchdog":
        reason = "the watchdog reset the board: the script did not give control back"
    elif slots.reset == "restart" and not own:
        reason = "the script restarted the board"
    if reason:
        # An old traceback would tell of another crash.
        slots.remove(slots.TRACE)
    return reason


def count(reason):
    """Counts a crash; at the limit the script before this one comes back, after safe mode if they came fast."""
    state = slots.state
    trial = state.get("trial")
    state["crashes"] = state.get("crashes", 0) + 1
    if trial:
        trial["crashes"] = trial.get("crashes", 0) + 1
    fast = state["crashes"] >= CRASHES_MAX
    if fast or trial and trial["crashes"] >= CRASHES_MAX:
        run = trial or state["good"]
        state["report"] = {
            "digest": run["digest"],
            "state": "Failed",
            "reason": reason,
            "traceback": slots.size(slots.TRACE) > 0,
            "crashes": trial["crashes"] if trial else state["crashes"],
            "safe_mode": fast,
        }
        if trial:
            state["trial"] = None
        else:
            state["good"], state["prev"] = state.get("prev"), None
        state["crashes"] = 0
        if fast:
            state["safe"] = reason
    if not slots.save():
        # Nothing can be counted, so nothing that may crash runs in this life.
        state["safe"] = reason + "; the flash is full: the crash cannot be counted"


def spare():
    """Keeps a block of the flash for the state."""
    if slots.size(slots.SPARE):
        return
    try:
        with open(slots.SPARE, "w") as file:
            for _ in range(SPARE_BYTES // 64):
                file.write("-" * 64)
    except OSError:
        slots.remove(slots.SPARE)


def boot():
    spare()
    slots.load()
    state = slots.state
    slots.reset = named(machine.reset_cause())
    slots.slept = slots.reset == "deep sleep"
    crash = blame()
    if crash and not state.get("safe") and (state.get("trial") or state.get("good")):
        count(crash)
    if not state.get("safe"):
        slots.running = state.get("trial") or state.get("good")
