#!/usr/bin/env python3
"""aiocoap (PyPI) as a client of a CoAP server, and as a server for a CoAP client.

    aiocoap_peer.py client coap://127.0.0.1:5683     ends with 0 if everything did what it should
    aiocoap_peer.py server 5683                      serves /thing and /count until it is ended
    aiocoap_peer.py node 127.0.0.9 127.0.0.1:5683 uid
                                                     is a RIOT node there: it announces itself at that hub
    aiocoap_peer.py sink 5683                        takes everything at any path, and says each second how much
"""
import asyncio
import sys

import aiocoap
from aiocoap import resource
from aiocoap.numbers.codes import Code

WAIT_S = 120
BODY = bytes(ord("a") + at % 26 for at in range(64 * 1024))


async def ask(context, code, uri, payload=b"", echo=None):
    message = aiocoap.Message(code=code, uri=uri, payload=payload)
    if echo is not None:
        message.opt.echo = echo
    response = await asyncio.wait_for(context.request(message).response, WAIT_S)
    # It leaves the proof of its address (RFC 9175) to its user.
    if response.code == Code.UNAUTHORIZED and response.opt.echo is not None and echo is None:
        return await ask(context, code, uri, payload, response.opt.echo)
    return response


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r:.80}, got {got!r:.80}")


async def client(base):
    context = await aiocoap.Context.create_client_context()
    links = await ask(context, Code.GET, f"{base}/.well-known/core")
    expect("discovery", b"</large>" in links.payload, True)
    expect("put", (await ask(context, Code.PUT, f"{base}/things/a", b"one")).code, Code.CREATED)
    expect("get", (await ask(context, Code.GET, f"{base}/things/a")).payload, b"one")
    expect("post", (await ask(context, Code.POST, f"{base}/things/a", b" two")).code, Code.CHANGED)
    expect("get", (await ask(context, Code.GET, f"{base}/things/a")).payload, b"one two")
    expect("delete", (await ask(context, Code.DELETE, f"{base}/things/a")).code, Code.DELETED)
    expect("get", (await ask(context, Code.GET, f"{base}/things/a")).code, Code.NOT_FOUND)
    expect("64 kB", (await ask(context, Code.GET, f"{base}/large")).payload, BODY)
    expect("64 kB", (await ask(context, Code.PUT, f"{base}/things/b", BODY)).code, Code.CREATED)
    await ask(context, Code.PUT, f"{base}/things/c", b"first")
    observing = context.request(aiocoap.Message(code=Code.GET, uri=f"{base}/things/c", observe=0))
    expect("observe", (await asyncio.wait_for(observing.response, WAIT_S)).payload, b"first")

    async def seen():
        async for notification in observing.observation:
            if notification.payload == b"second":
                return

    waiting = asyncio.create_task(seen())
    await ask(context, Code.PUT, f"{base}/things/c", b"second")
    await asyncio.wait_for(waiting, WAIT_S)
    await context.shutdown()


class Thing(resource.Resource):
    content = b""

    async def render_get(self, request):
        return aiocoap.Message(payload=self.content)

    async def render_put(self, request):
        self.content = request.payload
        return aiocoap.Message(code=Code.CHANGED)

    async def render_post(self, request):
        self.content += request.payload
        return aiocoap.Message(code=Code.CHANGED)

    async def render_delete(self, request):
        self.content = b""
        return aiocoap.Message(code=Code.DELETED)


class Count(resource.ObservableResource):
    number = 0

    async def render_get(self, request):
        return aiocoap.Message(payload=str(self.number).encode())

    async def run(self):
        while True:
            await asyncio.sleep(1)
            self.number += 1
            self.updated_state()


async def server(port):
    site = resource.Site()
    count = Count()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["thing"], Thing())
    site.add_resource(["count"], count)
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port)))
    await count.run()


class Sink(resource.ObservableResource, resource.PathCapable):
    taken = 0

    async def render_get(self, request):
        return aiocoap.Message()

    async def render_post(self, request):
        self.taken += 1
        return aiocoap.Message(code=Code.CHANGED)


async def node(address, hub, uid):
    site = resource.Site()
    count = Count()
    site.add_resource([".well-known", "core"], resource.WKCResource(site.get_resources_as_linkheader))
    site.add_resource(["thing"], Thing())
    site.add_resource(["count"], count)
    # What it says comes from where it listens.
    context = await aiocoap.Context.create_server_context(site, bind=(address, 5683))
    counting = asyncio.create_task(count.run())
    while not counting.done():
        sign = aiocoap.Message(code=Code.POST, uri=f"coap://{hub}/alive", payload=f"alive:{uid}".encode())
        await asyncio.wait([asyncio.ensure_future(context.request(sign).response)], timeout=WAIT_S)
        await asyncio.sleep(1)


async def sink(port):
    site = resource.Site()
    everything = Sink()
    site.add_resource(["devices"], everything)
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", int(port)))
    print("ready", flush=True)
    while True:
        await asyncio.sleep(1)
        print(everything.taken, flush=True)


if __name__ == "__main__":
    asyncio.run({"client": client, "server": server, "node": node, "sink": sink}[sys.argv[1]](*sys.argv[2:]))
