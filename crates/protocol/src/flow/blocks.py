def log(step, error):
    motehub.log("error", step + ": " + str(error))  #? motehub
    print(step + ": " + str(error))  #? esp


nothing = object()


tasks = {}


client = None


busy = {}


execute = exec


sent = int.from_bytes(os.urandom(3), "big") * 64  #? motehub
sent = time.ticks_us() % 16777216 * 64  #? esp


def send(wire, value):
    global sent
    sent += 1
    motehub.flow(wire, sent, value)  #? motehub
    if not client or len(busy) >= 24:  #? esp
        return log(wire, "too much waits to be sent")  #? esp
    text = json.dumps({"w": wire, "i": sent, "v": value})  #? esp
    busy[sent] = asyncio.create_task(publish(sent, text))  #? esp


async def publish(id, text):
    try:
        await client.publish(out_topic, text, False, 1)
    finally:
        del busy[id]


def run(source, value, told=False):
    queue, left = [(source, value)], 1000
    while queue:
        source, value = queue.pop(0)
        if source in away and not told:  #? away
            send(source, value)  #? away
        told = False  #? away
        for step in routes.get(source, ()):
            left -= 1
            if left < 0:
                return log(step, "one value became more than 1000: the rest is left out")
            try:
                out = steps[step](value, source)
                if out is not nothing:
                    if len(compact(out)) > 1024:  #? big
                        raise ValueError("what it emits has more than 1024 bytes")  #? big
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


async def later(ms, step, value):
    await asyncio.sleep_ms(ms)
    run(step, value)


def wait(step, ms, value):
    if step in tasks:
        tasks[step].cancel()
    tasks[step] = asyncio.create_task(later(ms, step, value))
    return nothing


def compact(value):
    return json.dumps(value, separators=(",", ":"))  #? motehub
    return json.dumps(value).replace(", ", ",").replace(": ", ":")  #? esp


def number(value):
    if type(value) in (int, float):
        return value
    raise ValueError("a number is expected")


def word(value):
    if type(value) is str:
        return value
    raise ValueError("a text is expected")


def boolean(value):
    if type(value) is bool:
        return value
    raise ValueError("true or false is expected")


def whole(value):
    if value - value != 0:
        return None
    return int(value) if abs(value) < 9e15 and value == int(value) else value


def floor(value):
    return int(value // 1)


def truth(value):
    return value is True or value in ("true", "True") or type(value) in (int, float) and value != 0


def part(value, *names):
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value


def same(a, b):
    if type(a) is list and type(b) is list:
        return len(a) == len(b) and all(same(*two) for two in zip(a, b))
    if type(a) is dict and type(b) is dict:
        return len(a) == len(b) and all(name in b and same(a[name], b[name]) for name in a)
    return (type(a) is bool) == (type(b) is bool) and a == b


def less(a, b):
    if type(a) is str and type(b) is str:
        return a < b
    return number(a) < number(b)


def add(a, b):
    if type(a) is str and type(b) is str:
        if len(a) + len(b) > 4096:
            raise ValueError("a text of more than 4096 bytes")
        return a + b
    return whole(number(a) + number(b))


def rest(a, b):
    rest = abs(a) % abs(b)
    return whole(-rest if a < 0 else rest)


def item(value, at):
    if type(value) is dict and type(at) is str and at in value:
        return value[at]
    if type(value) is list and number(at) >= 0 and at == int(at):
        return value[int(at)]
    raise ValueError("there is no " + str(at))


def has(value, name):
    if type(value) is dict:
        return name in value
    raise ValueError("it is no object and has no " + name)


def double(value):
    if type(value) is str:
        value = float(value.strip().replace("_", "?"))
        if value - value != 0:
            raise ValueError("the text writes no number")
    return whole(number(value))


def string(value):
    if type(value) is str:
        return value
    if type(value) in (int, float):
        return str(whole(value))
    return compact(value)


def average(last, count, window, value):
    now = time.ticks_ms()
    last.append((now, number(value)))
    while len(last) > count or window and not 0 <= time.ticks_diff(now, last[0][0]) <= window:
        last.pop(0)
    return whole(sum([value for _, value in last]) / len(last))


def code(step, source):
    names = {}
    try:
        execute(source, names)
        return names["step"]
    except MemoryError:
        raise
    except Exception as error:
        log(step, error)


def call(step, value):
    out = step(json.loads(json.dumps(value)))
    return nothing if out is None else json.loads(json.dumps(out))


def pin(number):
    import machine

    if not hasattr(machine, "Pin"):  #? esp
        return number  #? esp
    return machine.Pin(number, machine.Pin.IN)


def start():
    for step, first, pause, read in sources:
        tasks[step] = asyncio.create_task(every(first, pause, step, read))
