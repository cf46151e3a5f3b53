# The HTTP server of the board: it looks for words in the request line, and for one header in one letter case.
import sys
import time

import uasyncio as asyncio

import config
import log

BLOCK = 1000
LENGTH = b"Content-Length: "


def reply(version, status, kind, text):
    return "HTTP/%s %s\r\nContent-Type: %s\r\n\r\n%s" % (version, status, kind, text)


class Server:
    def __init__(self, board):
        self.board = board

    async def answer(self, reader, writer):
        answer = None
        try:
            line = await reader.readline()
            length = 0
            while True:
                header = await reader.readline()
                if header in (b"", b"\r\n"):
                    break
                if header.startswith(LENGTH):
                    length = int(header[len(LENGTH) :])
            if self.board.memory_error:
                # Never answered, and left open.
                return
            if b"GET /ping" in line:
                answer = self.alive()
            elif b"POST /execute" in line:
                answer = await self.execute(reader, length)
            else:
                answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot found"
            writer.write(answer.encode())
            await writer.drain()
        except OSError:
            pass
        writer.close()
        await writer.wait_closed()
        if answer and answer.startswith("HTTP/1.0 200"):
            self.board.go()

    def alive(self):
        if "old" in config.QUIRKS:
            text = '{"status":1,"running":%s}' % ("true" if self.board.running else "false")
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            return head % len(text) + text
        return reply("1.1", "200 OK", "text/plain", "Ok.\r\n")

    async def execute(self, reader, length):
        board = self.board
        board.payload_id, board.payload_bytes = time.ticks_ms(), length
        await board.forget()
        if not length:
            return reply("1.1", "200 OK", "text/html", "Received file was empty.\r\n")
        try:
            await self.store(reader, length)
        except MemoryError:
            await board.fail_safe(False)
            return reply("1.1", "413 Request Entity Too Large", "text/plain", "")
        try:
            await board.start()
        except MemoryError as error:
            await board.fail_safe(True)
            return reply("1.1", "413 Request Entity Too Large", "text/plain", str(error))
        except OSError as error:
            return reply("1.1", "424 Failed Dependency", "text/html", str(error))
        except Exception as error:
            sys.print_exception(error)
            board.remove()
            return reply("1.1", "500 Internal Server Error", "text/html", str(error))
        if "slow" in config.QUIRKS:
            await asyncio.sleep_ms(6800)
        log.line(board.name, "script of %d bytes" % length)
        return reply("1.0", "200 OK", "text/html", "File saved.\r\n")

    async def store(self, reader, length):
        left = length
        with open("script.py", "wb") as file:
            while left:
                # One that goes before all of it is there is waited for without end.
                block = await reader.read(min(BLOCK, left))
                if not block:
                    await asyncio.sleep_ms(0)
                file.write(block)
                left -= len(block)
