#!/usr/bin/env python3
"""boto3, the SDK of AWS for programs, unmodified, against the hub: its client iot-data reads, changes, lists and deletes
shadows, over TLS, and signs with the access key of an API token. What is refused is raised as the exception that AWS
has for it.

Ends with 0 if everything did what it should, otherwise with 1 and a sentence for each part that did not.

    boto3_shadow.py --endpoint https://127.0.0.1:8443 --ca ca.pem --thing lamp-1 --http 127.0.0.1:8080 --token TOKEN
"""
import argparse
import json
import sys
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

WAIT_S = 15


def same(what, got, expected):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


class Hub:
    """The hub, as its administrator and as programs with access keys reach it."""

    def __init__(self, options):
        self.options, self.thing = options, options.thing

    def api(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://{self.options.http}/api/v1{path}",
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {self.options.token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return json.loads(answer.read() or "null")

    def key(self, name, role):
        """A new token with an access key."""
        return self.api("POST", "/tokens", {"name": name, "role": role, "access_key": True})

    def client(self, key, **other):
        quick = Config(retries={"total_max_attempts": 1}, connect_timeout=WAIT_S, read_timeout=WAIT_S)
        how = {"endpoint_url": self.options.endpoint, "verify": self.options.ca, **other}
        secret = key["secret_access_key"]
        return boto3.client("iot-data", region_name="eu-west-1", config=quick, aws_access_key_id=key["access_key_id"],
                            aws_secret_access_key=secret, **how)

    def update(self, client, state, **other):
        payload = json.dumps({"state": state, **other}).encode()
        return json.loads(client.update_thing_shadow(thingName=self.thing, payload=payload)["payload"].read())

    def get(self, client, **which):
        return json.loads(client.get_thing_shadow(thingName=self.thing, **which)["payload"].read())


def refused(what, expected, call):
    try:
        call()
    except ClientError as error:
        same(what, error.response["Error"]["Code"], expected)
        return error
    raise AssertionError(f"{what}: it was let through")


def shadows(hub):
    """get, update, conflict, delete"""
    client = hub.client(hub.key("shadows", "manager"))
    error = refused("a shadow that is not there", "ResourceNotFoundException", lambda: hub.get(client))
    same("its exception", isinstance(error, client.exceptions.ResourceNotFoundException), True)
    same("its sentence", error.response["message"], f"No shadow exists with name: '{hub.thing}'")
    taken = hub.update(client, {"desired": {"on": True, "hue": 120}}, clientToken="a")
    same("the update", (taken["state"], taken["clientToken"]), ({"desired": {"on": True, "hue": 120}}, "a"))
    whole = hub.get(client)
    same("the whole", (whole["state"]["delta"], whole["version"]), ({"on": True, "hue": 120}, taken["version"]))
    hub.update(client, {"reported": {"on": True}}, version=taken["version"])
    stale = lambda: hub.update(client, {"desired": {"on": False}}, version=taken["version"])
    error = refused("an old version", "ConflictException", stale)
    same("its exception", isinstance(error, client.exceptions.ConflictException), True)
    refused("no update", "InvalidRequestException", lambda: hub.update(client, 7))
    large = lambda: hub.update(client, {"desired": {"text": "x" * 9000}})
    refused("a large one", "RequestEntityTooLargeException", large)
    gone = json.loads(client.delete_thing_shadow(thingName=hub.thing)["payload"].read())
    same("the deletion", gone["version"], taken["version"] + 1)
    refused("a shadow that is gone", "ResourceNotFoundException", lambda: hub.get(client))


def named(hub):
    """named shadows, page by page"""
    client = hub.client(hub.key("named", "manager"))
    names = [f"room:{number}" for number in range(5)]
    for name in names:
        payload = json.dumps({"state": {"desired": {"name": name}}}).encode()
        client.update_thing_shadow(thingName=hub.thing, shadowName=name, payload=payload)
    same("one of them", hub.get(client, shadowName="room:3")["state"]["desired"], {"name": "room:3"})
    listed, more = [], {}
    while True:
        page = client.list_named_shadows_for_thing(thingName=hub.thing, pageSize=2, **more)
        listed.extend(page["results"])
        if not page.get("nextToken"):
            break
        more = {"nextToken": page["nextToken"]}
    same("the names", listed, names)
    same("a thing that nobody knows", client.list_named_shadows_for_thing(thingName="nobody")["results"], [])


def rights(hub):
    """another secret, another role, a revoked token, another authority"""
    key = hub.key("rights", "viewer")
    client = hub.client(key)
    refused("a role that may only see", "ForbiddenException", lambda: hub.update(client, {"desired": {"on": True}}))
    wrong = hub.client({**key, "secret_access_key": "wrong"})
    refused("another secret", "InvalidSignatureException", lambda: hub.get(wrong))
    refused("the right one", "ResourceNotFoundException", lambda: hub.get(client))
    hub.api("DELETE", f"/tokens/{key['id']}")
    refused("a revoked token", "InvalidSignatureException", lambda: hub.get(client))
    try:
        hub.get(hub.client(key, verify=True))
        raise AssertionError("the authority of the hub is not one of this machine's")
    except SSLError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("endpoint", "ca", "thing", "http", "token"):
        parser.add_argument(f"--{name}", required=True)
    hub = Hub(parser.parse_args())
    failed = 0
    for part in (shadows, named, rights):
        try:
            part(hub)
            print(f"boto3: {part.__doc__}")
        except Exception as error:  # noqa: BLE001: whatever it is, it is what the test is about
            failed = 1
            print(f"boto3: {part.__doc__}: {type(error).__name__}: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
