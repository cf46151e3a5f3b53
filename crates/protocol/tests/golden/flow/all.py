# Steps of flows. Motehub writes this anew whenever they change.
import asyncio
import json
import motehub
import os

F1 = "01hf7yat000000000000000001/"


def log(step, error):
    motehub.log("error", step + ": " + str(error))


nothing = object()
tasks = {}
sent = int.from_bytes(os.urandom(3), "big") * 64


def send(wire, value):
    global sent
    sent += 1
    motehub.flow(wire, sent, value)


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


async def every(first, pause, step, read):
    await asyncio.sleep_ms(first)
    while True:
        try:
            run(step, read())
        except MemoryError:
            raise
        except Exception as error:
            log(step, error)
        await asyncio.sleep_ms(pause)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


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


def pin(number):
    import machine

    return machine.Pin(number, machine.Pin.IN)


def start():
    for step, first, pause, read in sources:
        tasks[step] = asyncio.create_task(every(first, pause, step, read))


def f1_th():
    import dht

    sensor = dht.DHT22(pin(4))
    sensor.measure()
    return {"temperature": sensor.temperature(), "humidity": sensor.humidity()}


def f1_warm(value, source):
    return number(part(value, "temperature")) > 20


def f1_moist(value, source):
    return 40 <= number(part(value, "humidity")) <= 60.5


def f1_both(value, source, last={}):
    last[source] = truth(value)
    return all(last.values()) if len(last) == 2 else nothing


def f1_on(value, source):
    return value


steps = {
    F1 + "warm": f1_warm,
    F1 + "moist": f1_moist,
    F1 + "both": f1_both,
    F1 + "on": f1_on,
}
routes = {
    F1 + "th": (F1 + "warm", F1 + "moist"),
    F1 + "warm": (F1 + "both",),
    F1 + "moist": (F1 + "both",),
    F1 + "both": (F1 + "on",),
}
away = {F1 + "on"}
sources = (
    (F1 + "th", 1000, 5000, f1_th),
)


start()
