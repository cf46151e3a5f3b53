# What a script can do: it says `import motehub`.

_agent = None


def telemetry(values):
    """Sends measurements, as in {"t": 21.5}. False when too much waits for the hub."""
    return _agent.send("telemetry", values)


def event(name, data=None):
    """Something happened: a line of the device's activity."""
    return _agent.send("event", {"name": name, "data": data})


def log(level, text=None):
    """A log line; `level` is debug, info, warn or error. With one argument it is info."""
    if text is None:
        level, text = "info", level
    _agent.line(level, str(text))


def on_command(name, run):
    """Calls `run(args)` when somebody gives the command. What it returns is the answer; an exception is one too."""
    _agent.commands[name] = run


def flow(wire, id, value):
    """Sends a value along a wire of a flow, with the id of the message. False when too much waits for the hub."""
    return _agent.send("flow-out", {"w": wire, "i": id, "v": value})


def on_flow(run):
    """Calls `run(wire, id, value)` for what comes along the wires of a flow; it may be async."""
    _agent.handlers["flow"] = run


def online():
    """Whether the board is connected to its hub."""
    return _agent.online


def every(seconds, run):
    """Calls `run()` again and again, for scripts that do not use asyncio themselves."""
    return _agent.every(seconds, run)
