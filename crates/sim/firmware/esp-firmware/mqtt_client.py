# The MQTT 3.1.1 client of the board: QoS 0 and 1, and it comes back by itself.
import socket
import struct
import time

import uasyncio as asyncio

import config

KEEP_ALIVE = 60
PING_AFTER = 15000
ANSWER_SECONDS = 10
TRIES = 5


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


class MQTTClient:
    """`received(topic, msg, retained)` is called for what comes, `connected(client)` after every connect."""

    def __init__(self, client_id, address, received=None, connected=None):
        self.client_id = client_id
        self.address = address
        self.received = received
        self.connected = connected
        self.stream = None
        self.reader = None
        self.number = 0
        self.answers = {}
        self.tasks = []
        self.is_open = False

    def isconnected(self):
        return self.stream is not None

    async def open(self):
        """The first connect raises what is wrong; later ones are tried again."""
        self.is_open = True
        await self.connect()
        self.tasks = [asyncio.create_task(self.keep())]

    async def connect(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(socket.getaddrinfo(self.address, 0)[0][-1])
        try:
            sock.connect(socket.getaddrinfo(config.BROKER[0], config.BROKER[1])[0][-1])
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        self.stream = asyncio.StreamReader(sock)
        self.heard = time.ticks_ms()
        await self.send(0x10, b"\x00\x04MQTT\x04\x02" + struct.pack(">H", KEEP_ALIVE) + text(self.client_id))
        kind, body = await asyncio.wait_for(self.packet(), ANSWER_SECONDS)
        if kind != 0x20 or body[1]:
            print("the broker answers", kind, body)
            self.drop()
            raise OSError(-1)
        self.reader = asyncio.create_task(self.listen())
        if self.connected:
            asyncio.create_task(self.connected(self))

    async def keep(self):
        """Asks for signs of life, and connects again."""
        while self.is_open:
            await asyncio.sleep(1)
            try:
                if not self.stream:
                    await self.connect()
                    continue
                silent = time.ticks_diff(time.ticks_ms(), self.heard)
                if silent > KEEP_ALIVE * 1000:
                    self.drop()
                elif silent > PING_AFTER:
                    await self.send(0xC0, b"")
            except (OSError, EOFError, asyncio.TimeoutError):
                self.drop()

    async def send(self, kind, body):
        head, left = bytearray([kind]), len(body)
        while True:
            left, digit = left >> 7, left & 0x7F
            head.append(digit | 0x80 if left else digit)
            if not left:
                break
        if not self.stream:
            raise OSError(-1)
        self.stream.write(bytes(head) + body)
        await self.stream.drain()

    async def packet(self):
        kind = (await self.stream.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self.stream.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        body = await self.stream.readexactly(length) if length else b""
        self.heard = time.ticks_ms()
        return kind, body

    async def listen(self):
        try:
            while self.stream:
                kind, body = await self.packet()
                if kind & 0xF0 == 0x30:
                    await self.message(kind, body)
                elif kind in (0x40, 0x90, 0xB0):
                    number = struct.unpack(">H", body[:2])[0]
                    if number in self.answers:
                        self.answers[number].set()
        except (OSError, EOFError):
            self.drop()
        # Whatever else a script raises ends this task, and nobody listens until the keep-alive is over.

    async def message(self, kind, body):
        end = 2 + struct.unpack(">H", body[:2])[0]
        topic = body[2:end]
        if kind & 0x06:
            await self.send(0x40, body[end : end + 2])
            end += 2
        if not self.received:
            return
        try:
            self.received(topic, body[end:], bool(kind & 1))
        except Exception:
            if "deaf" in config.QUIRKS:
                raise

    async def asked(self, kind, before, after):
        self.number = number = self.number % 0xFFFF + 1
        self.answers[number] = answered = asyncio.Event()
        try:
            for again in range(TRIES):
                await self.up()
                dup = 0x08 if again and kind & 0xF0 == 0x30 else 0
                try:
                    await self.send(kind | dup, before + struct.pack(">H", number) + after)
                    await asyncio.wait_for(answered.wait(), ANSWER_SECONDS)
                    return
                except (OSError, asyncio.TimeoutError):
                    pass
            raise OSError(-1)
        finally:
            del self.answers[number]

    async def up(self):
        while not self.stream:
            await asyncio.sleep_ms(100)

    async def publish(self, topic, msg, retain=False, qos=0):
        msg = msg.encode() if isinstance(msg, str) else msg
        kind = 0x30 | qos << 1 | (1 if retain else 0)
        if qos:
            await self.asked(kind, text(topic), msg)
        else:
            await self.up()
            await self.send(kind, text(topic) + msg)

    async def subscribe(self, topic, qos=0):
        await self.asked(0x82, b"", text(topic) + bytes([qos]))

    async def unsubscribe(self, topic):
        await self.asked(0xA2, b"", text(topic))

    def drop(self):
        stream, self.stream = self.stream, None
        reader, self.reader = self.reader, None
        # It must not wait on a socket that is closed.
        if reader and reader is not asyncio.current_task():
            reader.cancel()
        if stream:
            stream.s.close()

    async def disconnect(self):
        self.is_open = False
        try:
            if self.stream:
                await self.send(0xE0, b"")
        except OSError:
            pass
        self.drop()
        for task in self.tasks:
            task.cancel()
        self.tasks = []
