# The agent: keeps the board connected to its hub, and carries what the script says and what the hub says. What is
# needed only now and then is in other files, which are forgotten again.
import asyncio
import builtins
import gc
import json
import random
import sys

from mh import mqtt, slots

VERSION = "1.0.0"
# Messages and their bytes that wait for the hub; of the droppable ones the oldest goes first.
QUEUE_MAX = 24
QUEUE_BYTES_MAX = 6144
# Log lines that wait, their length, and how many may come at once and per second after that.
LINES_MAX = 20
LINE_MAX = 200
LINES_PER_SECOND = 2
# Attempts to connect: from the first pause to the longest, in seconds, each shortened or lengthened by chance.
PAUSE_MIN = 1
PAUSE_MAX = 60
REPORT_SECONDS = 60
# Messages that wait for the script; the oldest makes way.
ARRIVED_MAX = 16
# What the hub says, by the last part of the topic.
KINDS = ("offer", "command", "credential", "cancel", "flow-in")
# A run of this length forgives the crashes before it.
QUIET_SECONDS = 60
# Safe mode without a hub that hears of it ends after this, if there is a good script to return to.
SAFE_SECONDS = 120
# A script on trial that keeps the board from connecting for so long after its window has failed.
SILENT_SECONDS = 600
WATCHDOG_MS = 8000

state = slots.state
config = None
commands = {}
online = False
client = None
secret = None
turn = 0
# Whether the last connection came about.
reached = False
offer = None
fetching = None
reporting = None
console = builtins.print
# What came for the script, and what the script wants to be called for: `flow`, `topic` and `connected`.
arrived = []
came = asyncio.Event()
handlers = {}
stop = None
queue = []
more = asyncio.Event()
offered = asyncio.Event()
queued_bytes = dropped = lost_lines = 0
lines = []
tokens = LINES_MAX
watchdog = None


def say(text):
    console("motehub:", text)


def part(name):
    """A file that is needed now and then; `forget` gives its memory back."""
    return getattr(__import__("mh." + name), name)


def forget(*names):
    for name in names:
        sys.modules.pop("mh." + name, None)
        if hasattr(sys.modules["mh"], name):
            delattr(sys.modules["mh"], name)
    gc.collect()


def drop():
    """Makes room in the queue: the oldest message that may be dropped goes."""
    global queued_bytes, dropped
    for index, item in enumerate(queue):
        if not item[2]:
            queued_bytes -= len(item[1])
            dropped += 1
            del queue[index]
            return True
    return False


def send(kind, message, keep=False, done=None, first=False):
    """Sends a message. `keep` makes it outlast others when too much waits; `done` is called when the hub has it."""
    return put(topic_of(kind), json.dumps(message).encode(), keep, done, first)


def topic_of(kind):
    return "devices/%s/%s" % (config["device"], kind)


def put(topic, payload, keep=False, done=None, first=False, retain=False):
    """Publishes on any topic, as `send` does."""
    global queued_bytes
    while len(queue) >= QUEUE_MAX or queued_bytes + len(payload) > QUEUE_BYTES_MAX:
        if not drop():
            break
    if len(queue) >= 2 * QUEUE_MAX or (not keep and queued_bytes + len(payload) > 2 * QUEUE_BYTES_MAX):
        return False
    queue.insert(0 if first else len(queue), (topic, payload, keep, done, retain))
    queued_bytes += len(payload)
    more.set()
    return True


def line(level, text):
    global tokens, lost_lines
    if tokens < 1:
        lost_lines += 1
        return
    tokens -= 1
    if len(lines) >= LINES_MAX:
        del lines[0]
        lost_lines += 1
    lines.append({"level": level, "text": text[:LINE_MAX]})


def send_lines():
    global tokens, lines, lost_lines, dropped
    tokens = min(LINES_MAX, tokens + LINES_PER_SECOND)
    if not online or len(queue) > 4:
        return
    if lost_lines + dropped:
        lines.append({"level": "warn", "text": "%d lines and %d messages left out" % (lost_lines, dropped)})
        lost_lines = dropped = 0
    if lines:
        batch, lines = lines, []
        send("log", batch)


def printed(*values, **options):
    console(*values, **options)
    line("info", options.get("sep", " ").join([str(value) for value in values]))


def received(topic, payload, retained):
    kind = topic.rpartition("/")[2]
    if kind not in KINDS or topic != topic_of(kind):
        return give("topic", (topic.encode(), payload, retained))
    try:
        message = json.loads(payload)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        line("error", "what came on %s is no JSON object" % kind)
    elif kind == "flow-in":
        give("flow", (message.get("w"), message.get("i"), message.get("v")))
    elif kind == "cancel":
        if fetching and fetching["digest"] == message.get("digest"):
            fetching["cancelled"] = True
    elif kind == "credential":
        part("credential").take(message)
        forget("credential")
    elif kind == "offer":
        global offer
        offer = message
        offered.set()
    elif kind == "command":
        asyncio.create_task(command(message))


def give(kind, message):
    """Puts something into the queue of the script, if it wants that."""
    global dropped
    if kind not in handlers:
        return
    if len(arrived) >= ARRIVED_MAX:
        del arrived[0]
        dropped += 1
    arrived.append((handlers[kind], message))
    came.set()


async def take_arrived():
    """Gives the script what came for it; an error is logged and costs this message only."""
    while True:
        await came.wait()
        came.clear()
        while arrived:
            run, message = arrived.pop(0)
            try:
                result = run(*message)
                if hasattr(result, "send"):
                    await result
            except Exception as error:
                run = message = result = None
                gc.collect()
                if isinstance(error, MemoryError):
                    send("event", {"name": "out_of_memory", "data": {"free_memory": gc.mem_free()}})
                for text in slots.traceback(error).split("\n"):
                    if text:
                        line("error", text)


async def command(message):
    await part("command").run(message)
    forget("command")


async def deliver():
    """Sends what waits, one message after the other, as long as the connection lives."""
    global queued_bytes
    while True:
        while not queue:
            more.clear()
            await more.wait()
        item = queue[0]
        await client.publish(item[0], item[1], item[4])
        if item in queue:
            queue.remove(item)
            queued_bytes -= len(item[1])
        if item[3]:
            item[3]()


def opened(port):
    """A connection to the hub that is being made."""
    hub = config["hub"]
    if "ca" in hub:
        return asyncio.open_connection(hub["host"], port, part("tls").context(), hub["host"])
    return asyncio.open_connection(hub["host"], port)


async def connection():
    """One connection, until it ends."""
    global client, online, secret
    await part("wifi").join(config)
    forget("wifi")
    secret = part("credential").chosen()
    forget("credential")
    client = mqtt.Client(received, lambda topic: line("error", "a message on %s is too long" % topic))
    hub = config["hub"]
    tasks = []
    try:
        await client.connect(opened(hub["mqtt"]), config["device"], secret)
        tasks.append(asyncio.create_task(client.listen()))
        part("hello").connected()
        await client.subscribe([topic_of(kind) for kind in KINDS])
        online = True
        part("hello").announce()
        forget("hello")
        give("connected", ())
        tasks.append(asyncio.create_task(deliver()))
        while client.writer and not any(task.done() for task in tasks):
            await client.keep_alive()
            await asyncio.sleep(1)
        for task in tasks:
            if task.done():
                await task
    finally:
        online = False
        for task in tasks:
            task.cancel()
        client.close()


async def stay_connected():
    global turn, reached
    pause = PAUSE_MIN
    while True:
        reached = False
        try:
            await connection()
            why = "the connection is lost"
        except mqtt.Refused as error:
            why = "the hub refused the credential of " + config["device"]
            if error.args[0] in (4, 5):
                turn += 1
            pause = min(PAUSE_MAX, pause * 2)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            # A ValueError is what TLS says of a certificate.
            why = "the hub at %s:%s: %r" % (config["hub"]["host"], config["hub"]["mqtt"], error)
        if reached:
            pause = PAUSE_MIN
        gc.collect()
        say("%s; next attempt in %d s or so" % (why, pause))
        await asyncio.sleep_ms(pause * (500 + random.getrandbits(10)))
        pause = min(PAUSE_MAX, pause * 2)


async def take_offers():
    global offer
    while True:
        await offered.wait()
        offered.clear()
        message, offer = offer, None
        try:
            await part("offer").take(message)
        except MemoryError:
            forget("offer", "fetch")
            why = "too little memory is free to fetch a script: %d bytes" % gc.mem_free()
            part("report").say(message["digest"], "Failed", why)
        forget("offer", "fetch", "report")


def watch_trial(trial, healthy, uptime):
    if healthy >= trial["window"] or slots.slept and online:
        part("trial").passed()
    elif uptime > trial["window"] + SILENT_SECONDS:
        part("trial").failed("the board could not reach the hub with this script")


async def every_second():
    uptime = healthy = 0
    while True:
        await asyncio.sleep(1)
        if watchdog:
            watchdog.feed()
        uptime += 1
        healthy += online
        send_lines()
        trial = state.get("trial")
        # A script that waits for the restart is on trial too, but it does not run yet.
        if trial and trial is slots.running:
            watch_trial(trial, healthy, uptime)
        if online and uptime % REPORT_SECONDS == 0:
            gc.collect()
            send("telemetry", {"free_memory": gc.mem_free()})
        if uptime == QUIET_SECONDS and state.get("crashes"):
            state["crashes"] = 0
            slots.save()
        if state.get("safe") and state.get("good") and uptime > SAFE_SECONDS:
            state["safe"] = None
            slots.restart()


def every(seconds, run):
    async def again():
        while True:
            run()
            await asyncio.sleep_ms(int(seconds * 1000))

    return asyncio.create_task(again())


def stray(loop, context):
    """A task of the script ended with an error that nobody waited for."""
    slots.crashed(context["exception"])


async def script():
    """Runs the script: its top level, then its `main` if it has one."""
    if not slots.running:
        return
    try:
        module = __import__(slots.slot_module(slots.running["slot"]))
        if hasattr(module, "on_input") and hasattr(module, "conn_han"):
            main = part("esp_firmware").adopt(module)
        else:
            main = getattr(module, "main", None)
        result = main() if main else None
        if hasattr(result, "send"):
            await result
    except Exception as error:
        slots.crashed(error)


async def run():
    global watchdog
    asyncio.get_event_loop().set_exception_handler(stray)
    if config.get("watchdog", True):
        try:
            import machine

            watchdog = machine.WDT(timeout=WATCHDOG_MS)
        except (ImportError, AttributeError, TypeError, ValueError):
            say("this board has no watchdog")
    for task in (every_second, stay_connected, take_offers, take_arrived, script):
        asyncio.create_task(task())
    while True:
        await asyncio.sleep(60)


def start():
    global config
    import motehub

    motehub._agent = sys.modules["mh.agent"]
    config, problem = part("config").read()
    forget("config")
    if problem:
        say(problem)
        return
    builtins.print = printed
    asyncio.run(run())
