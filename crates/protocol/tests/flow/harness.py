# Runs generated scripts on a clock that is moved. Reads cases from a file: {"program", "values": [[ms, wire, value]]};
# prints what came of each value and of the time before it.
import json
import sys


class Clock:
    now = 0


class Task:
    def __init__(self, coroutine):
        self.coroutine, self.due = coroutine, Clock.now
        tasks.append(self)

    def cancel(self):
        if self in tasks:
            tasks.remove(self)


class Sleep:
    def __init__(self, ms):
        self.ms = ms

    def __await__(self):
        yield self.ms

    __iter__ = __await__


class Asyncio:
    create_task = Task
    sleep_ms = Sleep


class Time:
    def ticks_ms():
        return Clock.now % 1073741824

    def ticks_us():
        return Clock.now * 1000

    def ticks_diff(a, b):
        return (a - b + 536870912) % 1073741824 - 536870912


class Motehub:
    def flow(wire, id, value):
        # As on its way: what is sent is what it was when it was sent.
        said.append([wire, json.loads(json.dumps(value))])
        ids.append(id)

    def on_flow(run):
        Motehub.run = run

    def log(level, text):
        assert level == "error", level
        said.append([text.split(": ")[0]])
        logged.append(text)


def advance(to):
    while True:
        due = [task for task in tasks if task.due <= to]
        if not due:
            break
        task = min(due, key=lambda task: task.due)
        Clock.now = max(Clock.now, task.due)
        try:
            task.due = Clock.now + task.coroutine.send(None)
        except StopIteration:
            if task in tasks:
                tasks.remove(task)
    Clock.now = to


class Ujson:
    """That of the old versions which this firmware runs on."""

    def dumps(value):
        return json.dumps(value)

    def loads(text):
        return json.loads(text)


class Client:
    async def publish(self, topic, text, retain, qos):
        assert topic == "flows/board-1/out" and qos == 1 and not retain
        message = json.loads(text)
        Motehub.flow(message["w"], message["i"], message["v"])

    async def subscribe(self, topic, qos):
        assert topic == "flows/board-1/in" and qos == 1


def esp_firmware(script):
    """Wires a script as this firmware does."""

    def run(wire, id, value):
        script["on_input"](b"flows/board-1/in", json.dumps({"w": wire, "i": id, "v": value}).encode(), False)
        advance(Clock.now)

    Motehub.run = run
    Task(script["conn_han"](Client()))
    Task(script["exec"](Client(), ["micropython"], "board-1"))
    advance(0)


for name, module in (("asyncio", Asyncio), ("time", Time), ("motehub", Motehub)):
    sys.modules[name] = module
for name, module in (("uasyncio", Asyncio), ("utime", Time), ("ujson", Ujson)):
    sys.modules[name] = module

for case in open(sys.argv[1]):
    case = json.loads(case)
    tasks, said, ids, logged, came = [], [], [], [], []
    Clock.now, Motehub.run = 0, None
    script = {"__name__": "script", "print": lambda text: Motehub.log("error", text)}
    exec(case["program"], script)
    if "on_input" in script:
        esp_firmware(script)
    for number, (at, wire, value) in enumerate(case["values"]):
        advance(at)
        came.append(said)
        said = []
        if Motehub.run:
            # Twice, as messages do sometimes.
            Motehub.run(wire, number, value)
            Motehub.run(wire, number, value)
        came.append(said)
        said = []
    if "on_input" in script:
        Motehub.run("", 0, {})
        script["on_input"](b"", b"no JSON", False)
        assert said.pop()[0] == "flow" and logged.pop(), said
        script["stop"]()
        assert not tasks, tasks
    assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True
    print(json.dumps({"came": came, "logged": logged}))
