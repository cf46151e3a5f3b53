# An MQTT 3.1.1 client on asyncio: one connection, QoS 1 both ways.
import asyncio
import struct
import time

# Longest message that is taken, in bytes.
MESSAGE_MAX = 2048
# How long an answer may take, in seconds.
ANSWER_SECONDS = 20
KEEP_ALIVE = 60
# Numbers that not every port has a name for.
IPPROTO_TCP = 6
TCP_NODELAY = 1


class Refused(Exception):
    """The hub does not let this device in."""


def text(value):
    value = value.encode()
    return struct.pack(">H", len(value)) + value


class Client:
    """`received(topic, payload, retained)` is called for what comes."""

    def __init__(self, received, too_long):
        self.received, self.too_long = received, too_long
        self.number = 0
        self.waits = None
        self.answered, self.turn = asyncio.Event(), asyncio.Lock()
        self.writer = None

    async def connect(self, opened, device, secret):
        self.reader, self.writer = await asyncio.wait_for(opened, ANSWER_SECONDS)
        self.heard = self.spoke = time.ticks_ms()
        try:
            # A small packet behind another one does not wait for what TCP makes of the first.
            self.writer.s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        except (AttributeError, OSError):
            pass
        head = b"\x00\x04MQTT\x04\xc2" + struct.pack(">H", KEEP_ALIVE)
        await self.send(0x10, head + text(device) + text(device) + text(secret))
        kind, body = await asyncio.wait_for(self.packet(), ANSWER_SECONDS)
        if kind != 0x20 or len(body) < 2:
            raise OSError("the answer is not MQTT")
        if body[1]:
            raise Refused(body[1])

    async def send(self, kind, body):
        head, left = bytearray([kind]), len(body)
        while True:
            left, digit = left >> 7, left & 0x7F
            head.append(digit | 0x80 if left else digit)
            if not left:
                break
        # At once, so that packets of two tasks do not mix.
        self.writer.write(bytes(head) + body)
        self.spoke = time.ticks_ms()
        await self.writer.drain()

    async def packet(self):
        kind = (await self.reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift > 21:
                raise OSError("a length of more than four bytes")
        self.heard = time.ticks_ms()
        if length <= MESSAGE_MAX:
            return kind, await self.reader.readexactly(length)
        start = await self.reader.readexactly(256)
        left = length - 256
        while left:
            left -= len(await self.reader.readexactly(min(left, 256)))
        return kind | 0x100, start

    async def listen(self):
        """Takes what comes until the connection ends."""
        while True:
            kind, body = await self.packet()
            if kind & 0xF0 == 0x30:
                await self.message(kind, body)
            elif kind in (0x40, 0x90, 0xB0) and self.waits == struct.unpack(">H", body[:2])[0]:
                self.waits, self.answer = None, body[2:]
                self.answered.set()

    async def message(self, kind, body):
        end = 2 + struct.unpack(">H", body[:2])[0]
        topic = str(body[2:end], "utf-8")
        if kind & 0x06:
            await self.send(0x40, body[end : end + 2])
            end += 2
        if kind & 0x100:
            self.too_long(topic)
        else:
            self.received(topic, body[end:], bool(kind & 1))

    async def asked(self, kind, before, after):
        """Sends a packet with a number and waits for its answer; one at a time."""
        async with self.turn:
            self.number = self.number % 0xFFFF + 1
            self.waits = self.number
            self.answered.clear()
            await self.send(kind, before + struct.pack(">H", self.number) + after)
            await asyncio.wait_for(self.answered.wait(), ANSWER_SECONDS)
            return self.answer

    async def publish(self, topic, payload, retain=False):
        await self.asked(0x33 if retain else 0x32, text(topic), payload)

    async def subscribe(self, topics):
        """What the hub granted: a byte for each topic, 0x80 for no."""
        return await self.asked(0x82, b"", b"".join([text(topic) + b"\x01" for topic in topics]))

    async def unsubscribe(self, topic):
        await self.asked(0xA2, b"", text(topic))

    async def keep_alive(self):
        """Called once a second: asks for a sign of life. Raises OSError if there is none."""
        now = time.ticks_ms()
        if time.ticks_diff(now, self.heard) > KEEP_ALIVE * 1500:
            raise OSError("the hub is silent")
        if time.ticks_diff(now, self.spoke) > KEEP_ALIVE * 500:
            await self.send(0xC0, b"")

    def close(self):
        if self.writer:
            try:
                self.writer.close()
            except OSError:
                pass
            self.writer = None
