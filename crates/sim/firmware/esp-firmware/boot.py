# boot.py CLIENT_ID IP CAPABILITY...: what a board with this firmware does when it starts.
import sys

import uasyncio as asyncio

import config
import log
from board import Board
from server import Server


def handler(board):
    def handle(loop, context):
        error = context["exception"]
        # Whatever is not this is lost without a word.
        if isinstance(error, MemoryError):
            loop.create_task(board.fail_safe(True))
        elif "loud" in config.QUIRKS:
            sys.print_exception(error)

    return handle


async def main(name, address, capabilities):
    board = Board(name, address, capabilities)
    asyncio.get_event_loop().set_exception_handler(handler(board))
    if "old" not in config.QUIRKS:
        await board.announce(0)
        await board.metrics.open()
        asyncio.create_task(board.measure())
    await asyncio.start_server(Server(board).answer, address, config.PORT)
    log.line(name, "listening on %s:%d" % (address, config.PORT))
    while True:
        await asyncio.sleep(60)


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
