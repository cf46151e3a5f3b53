"""The libraries pusher (servers) and Pysher (clients) of PyPI, unmodified, against a hub.

    pusher_libraries.py HOST PORT APP_ID KEY SECRET

It says what it saw and ends with 0, or fails with what went wrong.
"""

import json
import queue
import sys

import pusher
import pysher
from pusher.errors import PusherBadAuth, PusherForbidden

host, port, app_id, key, secret = sys.argv[1:]
DEADLINE_S = 20

server = pusher.Pusher(app_id=app_id, key=key, secret=secret, host=host, port=int(port), ssl=False)


def connected(user):
    """A client that signs for itself, as somebody."""
    client = pysher.Pusher(
        key, secret=secret, user_data={"user_id": user, "user_info": {"name": user}},
        secure=False, custom_host=host, port=int(port),
    )
    there = queue.Queue()
    client.connection.bind("pusher:connection_established", there.put)
    client.connect()
    there.get(timeout=DEADLINE_S)
    return client


def subscribed(client, name, *events):
    """A channel that is heard, the answer to the subscription, and a queue of further events."""
    channel, answer, heard = client.subscribe(name), queue.Queue(), queue.Queue()
    channel.bind("pusher_internal:subscription_succeeded", answer.put)
    for event in events:
        channel.bind(event, heard.put)
    return channel, answer, heard


def main():
    ada, bo = connected("ada"), connected("bo")

    # The answer may be there before it is waited for, so that an event says that the channel is heard.
    room, _, said = subscribed(ada, "private-room", "said", "client-typed")
    for _ in range(100):
        if server.channel_info("private-room")["occupied"]:
            break
    server.trigger("private-room", "said", {"n": 1})
    assert json.loads(said.get(timeout=DEADLINE_S)) == {"n": 1}

    same, _, _ = subscribed(bo, "private-room")
    for _ in range(100):
        if server.channel_info("private-room", ["subscription_count"])["subscription_count"] == 2:
            break
    same.trigger("client-typed", {"text": "hello"})
    assert json.loads(said.get(timeout=DEADLINE_S)) == {"text": "hello"}

    presence, _, members = subscribed(ada, "presence-room", "pusher_internal:member_added")
    for _ in range(100):
        if server.users_info("presence-room")["users"] == [{"id": "ada"}]:
            break
    subscribed(bo, "presence-room")
    assert json.loads(members.get(timeout=DEADLINE_S)) == {"user_id": "bo", "user_info": {"name": "bo"}}
    assert server.users_info("presence-room") == {"users": [{"id": "ada"}, {"id": "bo"}]}
    counts = server.channels_info("presence-", ["user_count"])
    assert counts == {"channels": {"presence-room": {"user_count": 2}}}, counts

    server.trigger_batch([
        {"channel": "private-room", "name": "said", "data": "one"},
        {"channel": "private-room", "name": "said", "data": "two"},
    ])
    assert [said.get(timeout=DEADLINE_S) for _ in range(2)] == ["one", "two"]

    other = pusher.Pusher(app_id=app_id, key=key, secret="wrong", host=host, port=int(port), ssl=False)
    refused(PusherBadAuth, lambda: other.trigger("private-room", "said", {}))
    refused(PusherForbidden, lambda: server.trigger("private-units", "said", {}))
    for client in (ada, bo):
        client.disconnect(timeout=DEADLINE_S)
    print("pusher and Pysher (PyPI): private, client events, presence, batch, refusals")


def refused(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"{error.__name__} was expected")


main()
