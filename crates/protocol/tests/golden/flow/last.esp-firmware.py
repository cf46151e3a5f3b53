# Steps of flows. Motehub writes this anew whenever they change.
import uasyncio as asyncio
import ujson as json
import utime as time

F1 = "01hf7yat000000000000000001/"
in_topic = "flows/board-1/in"
out_topic = "flows/board-1/out"
nodes = "compare:moist and:both pass:on"


def log(step, error):
    print(step + ": " + str(error))


nothing = object()
tasks = {}
client = None
busy = {}
sent = time.ticks_us() % 16777216 * 64


def send(wire, value):
    global sent
    sent += 1
    if not client or len(busy) >= 24:
        return log(wire, "too much waits to be sent")
    text = json.dumps({"w": wire, "i": sent, "v": value})
    busy[sent] = asyncio.create_task(publish(sent, text))


async def publish(id, text):
    try:
        await client.publish(out_topic, text, False, 1)
    finally:
        del busy[id]


def run(source, value, told=False):
    queue, left = [(source, value)], 1000
    while queue:
        source, value = queue.pop(0)
        if source in away and not told:
            send(source, value)
        told = False
        for step in routes.get(source, ()):
            left -= 1
            if left < 0:
                return log(step, "one value became more than 1000: the rest is left out")
            try:
                out = steps[step](value, source)
                if out is not nothing:
                    if len(compact(out)) > 1024:
                        raise ValueError("what it emits has more than 1024 bytes")
                    queue.append((step, out))
            except MemoryError:
                raise
            except Exception as error:
                log(step, error)


def take(wire, id, value):
    last = heard.get(wire)
    if last is None or id in last:
        return
    last.append(id)
    if len(last) > 8:
        last.pop(0)
    run(wire, value, True)


def compact(value):
    return json.dumps(value).replace(", ", ",").replace(": ", ":")


def number(value):
    if type(value) in (int, float):
        return value
    raise ValueError("a number is expected")


def truth(value):
    return value is True or value in ("true", "True") or type(value) in (int, float) and value != 0


def part(value, *names):
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value


def f1_moist(value, source):
    return 40 <= number(part(value, "humidity")) <= 60.5


def f1_both(value, source, last={}):
    last[source] = truth(value)
    return all(last.values()) if len(last) == 2 else nothing


def f1_on(value, source):
    return value


steps = {
    F1 + "moist": f1_moist,
    F1 + "both": f1_both,
    F1 + "on": f1_on,
}
routes = {
    F1 + "th": (F1 + "moist",),
    F1 + "warm": (F1 + "both",),
    F1 + "moist": (F1 + "both",),
    F1 + "both": (F1 + "on",),
}
away = {F1 + "on"}
heard = {
    F1 + "th": [],
    F1 + "warm": [],
}


def on_input(topic, msg, retained):
    try:
        said = json.loads(msg)
        take(said["w"], said["i"], said["v"])
    except MemoryError:
        raise
    except Exception as error:
        log("flow", error)


async def conn_han(client):
    await client.subscribe(in_topic, 1)


def get_nodes():
    return nodes


def stop():
    for task in list(tasks.values()) + list(busy.values()):
        task.cancel()


async def exec(mqtt_client, capabilities, client_id):
    global client
    client = mqtt_client
