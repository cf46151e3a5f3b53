# Fetches a script in pieces that go straight to flash. A break is resumed where it was.
import asyncio
import binascii
import gc
import hashlib
import random

from mh import agent, slots

# A piece, and what it is when little memory is free.
PIECE_BYTES = 1024
LITTLE_PIECE_BYTES = 256
LITTLE_HEAP = 8000
LINE_MAX = 256
LINES_MAX = 32
PIECE_SECONDS = 20
# Attempts in a row that bring nothing new, and the longest pause between them, in seconds.
TRIES_MAX = 8
PAUSE_MAX = 30


class Fatal(Exception):
    """Another attempt does not help."""


async def fetch(job):
    """What is wrong with the script when it is over; None if it is there and whole."""
    tries = 0
    while slots.size(job["name"]) < job["size"]:
        if job["cancelled"]:
            return "withdrawn"
        had, problem = slots.size(job["name"]), None
        try:
            await asyncio.wait_for(piece(job, had), PIECE_SECONDS)
        except Fatal as error:
            return "%s, after %d of %d bytes" % (error.args[0], slots.size(job["name"]), job["size"])
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            problem = str(error) or "no answer"
        if slots.size(job["name"]) > had:
            tries = 0
            continue
        tries += 1
        if tries >= TRIES_MAX:
            return "%s, after %d of %d bytes and %d attempts" % (problem, had, job["size"], tries)
        agent.say("download: %s" % problem)
        await asyncio.sleep_ms(min(PAUSE_MAX, 1 << (tries - 1)) * (500 + random.getrandbits(10)))
    found = digest_of(job["name"])
    if found != job["digest"]:
        return "wrong digest: the hub sent " + found if tries == 0 else "wrong digest"


def digest_of(name):
    hashed = hashlib.sha256()
    buffer = bytearray(256)
    with open(name, "rb") as file:
        while True:
            count = file.readinto(buffer)
            if not count:
                break
            hashed.update(memoryview(buffer)[:count])
    return "sha256:" + str(binascii.hexlify(hashed.digest()), "utf-8")


async def piece(job, first):
    """Asks for the next piece and writes it to the end of the file."""
    gc.collect()
    hub = agent.config["hub"]
    most = PIECE_BYTES if gc.mem_free() > LITTLE_HEAP else LITTLE_PIECE_BYTES
    last = min(first + most, job["size"]) - 1
    reader, writer = await agent.opened(hub["http"])
    try:
        writer.write(
            (
                "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\nRange: bytes=%d-%d\r\n"
                "Connection: close\r\n\r\n" % (job["path"], hub["host"], hub["http"], agent.secret, first, last)
            ).encode()
        )
        await writer.drain()
        left = await understood(reader, job, first)
        with open(job["name"], "ab") as file:
            while left:
                data = await reader.read(min(left, 256))
                if not data:
                    raise OSError("the answer ended early")
                try:
                    written = file.write(data)
                except OSError:
                    written = 0
                if written != len(data):
                    raise Fatal("the flash is full")
                left -= len(data)
    finally:
        writer.close()


async def understood(reader, job, first):
    """Reads the head of an answer: how many bytes of the script follow."""
    parts = (await reader.readline()).split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
        raise OSError("the answer is not HTTP")
    status, length, span = int(parts[1]), None, None
    for _ in range(LINES_MAX):
        line = (await reader.readline()).strip()
        if not line:
            break
        if len(line) > LINE_MAX:
            raise Fatal("the answer has too long a head")
        name, _, value = str(line, "utf-8").partition(":")
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "content-range":
            span = value.strip()
    if status >= 500 or status in (408, 429):
        raise OSError("the hub answered %d" % status)
    if status == 200 and first == 0:
        begin, end, total = 0, (length or 0) - 1, length
    elif status == 206 and span:
        begin, end, total = [int(number) for number in span[6:].replace("/", "-").split("-")]
    else:
        raise Fatal("the hub answered %d for the script" % status)
    if total != job["size"]:
        raise Fatal("wrong size: %d bytes were offered, the hub has %s" % (job["size"], total))
    if begin != first:
        raise OSError("the hub sent another piece than the one that was asked for")
    return end - begin + 1
