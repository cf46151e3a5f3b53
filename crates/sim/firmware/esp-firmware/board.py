# What the board is and has: its script, its MQTT client for it, and what it says of itself.
import gc
import json
import os
import sys
import time

import uasyncio as asyncio

import config
import log
from mqtt_client import MQTTClient

TELEMETRY_SECONDS = 5


def named(name):
    return "".join(["%02x" % byte for byte in name.encode()])


class Board:
    def __init__(self, name, address, capabilities):
        self.name, self.address, self.capabilities = name, address, capabilities
        self.script_task = None
        self.client = MQTTClient(named(name), address)
        self.metrics = MQTTClient(named(name + "metrics"), address)
        self.memory_error = False
        self.running = 0
        self.nodes = ""
        self.payload_id = None
        self.payload_bytes = 0
        self.started = time.ticks_ms()

    async def announce(self, failure):
        client = MQTTClient(named(self.name + "announcement"), self.address)
        await client.connect()
        said = {"address": self.address, "capabilities": self.capabilities, "failure": failure}
        topic = "announcements/" + self.address
        await client.publish(topic, json.dumps({"payload": said}), True, 1)
        await client.disconnect()

    async def measure(self):
        while True:
            try:
                for metric, value in self.measured():
                    await self.metrics.publish("telemetry/%s/%s" % (self.address, metric), value)
            except OSError:
                pass
            await asyncio.sleep(TELEMETRY_SECONDS)

    def measured(self):
        yield "uptime", str(time.ticks_diff(time.ticks_ms(), self.started))
        if self.payload_id is not None:
            yield "%d/last_payload" % self.payload_id, str(self.payload_bytes)
        yield "free_ram", str(gc.mem_free())
        taken = str(gc.mem_alloc()).encode()
        if "corrupt" in config.QUIRKS:
            taken = taken[:2] + b"\xc0\x00" + taken[2:]
        yield "alloc_ram", taken
        yield "running", str(self.running)
        yield "status", "0" if self.memory_error else "1"
        count = len(self.nodes.split())
        yield "nodes", json.dumps({"nodes": self.nodes, "nr": str(count)})
        disk = os.statvfs("/")
        yield "flash_size", str(disk[0] * disk[3] / 1024)

    async def forget(self):
        """Stops the script that is there and takes it away."""
        try:
            import script

            if hasattr(script, "stop"):
                script.stop()
        except Exception as error:
            log.line(self.name, str(error))
        if self.script_task:
            self.script_task.cancel()
            self.script_task = None
        self.remove()
        await self.client.disconnect()
        await asyncio.sleep_ms(200)

    def remove(self):
        sys.modules.pop("script", None)
        try:
            os.remove("script.py")
        except OSError:
            pass
        gc.collect()

    async def start(self):
        import script

        self.client = MQTTClient(named(self.name), self.address, script.on_input, script.conn_han)
        await self.client.open()
        self.nodes = script.get_nodes()
        self.running = 1

    def go(self):
        import script

        self.script_task = asyncio.create_task(script.exec(self.client, self.capabilities, named(self.name)))

    async def fail_safe(self, announces):
        """As the firmware does it: the script is not stopped for good, and what is said of it stays."""
        self.memory_error = True
        if self.script_task:
            self.script_task.cancel()
            self.script_task = None
        await self.client.disconnect()
        self.client = MQTTClient(named(self.name), self.address)
        gc.collect()
        self.memory_error = False
        self.started = time.ticks_ms()
        if announces:
            await self.announce(1)
