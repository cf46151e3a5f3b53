# What the firmware of a chip has and MicroPython on Linux does not, for virtual boards.
import ffi
import math
import os
import time

from umachine import *

_libc = ffi.open("libc.so.6")
_exit = _libc.func("v", "_exit", "i")
_alarm = _libc.func("i", "alarm", "i")

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5
# How a process ends that wants to start again.
_RESTART = 75


def reset_cause():
    return int(os.getenv("MOTEHUB_RESET_CAUSE") or PWRON_RESET)


def reset():
    _exit(_RESTART)


def unique_id():
    return (os.getenv("MOTEHUB_BOARD") or "board").encode()


class WDT:
    """Kills the process when it is not fed."""

    def __init__(self, id=0, timeout=5000):
        self._seconds = max(1, timeout // 1000)
        self.feed()

    def feed(self):
        _alarm(self._seconds)


class Pin:
    IN = 0
    OUT = 1
    PULL_UP = 1

    def __init__(self, id, mode=IN, pull=None, value=0):
        self._value = value

    def value(self, value=None):
        if value is None:
            return self._value
        self._value = 1 if value else 0

    def on(self):
        self._value = 1

    def off(self):
        self._value = 0


class ADC:
    """A slow wave."""

    def __init__(self, pin):
        pass

    def read_u16(self):
        return int(32768 + 20000 * math.sin(time.time() / 20))
