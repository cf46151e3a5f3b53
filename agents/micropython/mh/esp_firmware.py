# Runs scripts that were written for ESP-FIRMWARE: `on_input`, `conn_han`, `get_nodes`, `exec` and `stop`. Their topics go
# over the agent's own connection, as far as the hub lets this device publish and listen there.
import asyncio

from mh import agent


class Client:
    """What such a script has for a client. What it publishes waits in the agent's queue, always with QoS 1."""

    async def publish(self, topic, message, retain=False, qos=0):
        topic = topic if isinstance(topic, str) else str(topic, "utf-8")
        agent.put(topic, message.encode() if isinstance(message, str) else bytes(message), retain=retain)

    async def subscribe(self, topic, qos=0):
        topic = topic if isinstance(topic, str) else str(topic, "utf-8")
        if agent.online and 0x80 in await agent.client.subscribe([topic]):
            agent.line("error", "the hub does not let this device listen to %s: it needs a grant" % topic)

    async def unsubscribe(self, topic):
        if agent.online:
            await agent.client.unsubscribe(topic if isinstance(topic, str) else str(topic, "utf-8"))

    def isconnected(self):
        return agent.online


def adopt(module):
    """Listens for the script; gives what is to be run."""
    client = Client()
    started = asyncio.Event()

    async def connected():
        try:
            await module.conn_han(client)
        except (OSError, asyncio.TimeoutError) as error:
            agent.line("error", "the connection ended while the script subscribed: %r" % error)
        started.set()

    async def run():
        # It begins when it is connected, as with its own firmware.
        await started.wait()
        if hasattr(module, "get_nodes"):
            agent.send("telemetry", {"nodes": str(module.get_nodes())})
        if hasattr(module, "exec"):
            capabilities = ["micropython"] + agent.config["capabilities"]
            result = module.exec(client, capabilities, agent.config["device"])
            if hasattr(result, "send"):
                await result

    agent.handlers["topic"] = module.on_input
    agent.handlers["connected"] = connected
    agent.stop = getattr(module, "stop", None)
    return run
