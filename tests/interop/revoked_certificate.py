#!/usr/bin/env python3
"""A device that proves who it is by a client certificate, over TLS with MQTT 3.1.1 and 5.0: let in while the certificate
is good; when it is revoked, the live connection ends and the next one is refused.

Ends with 0 if everything did what it should, otherwise with 1 and a sentence for each part that did not.

    revoked_certificate.py --host 127.0.0.1 --tls 8883 --ca ca.pem --thing lamp-1 --certificate lamp.pem --key lamp.key \
        --http 127.0.0.1:8080 --token TOKEN --device ID --fingerprint HEX
"""
import argparse
import queue
import sys
import urllib.request

import paho.mqtt.client as mqtt

WAIT_S = 15
VERSIONS = {"MQTT 3.1.1": mqtt.MQTTv311, "MQTT 5.0": mqtt.MQTTv5}


def same(what, got, expected):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


class Device:
    """What a client hears of its connection, in order."""

    def __init__(self, options, version):
        self.facts = queue.Queue()
        name = f"{options.thing}-{version}"
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=version, reconnect_on_failure=False
        )
        self.client.tls_set(ca_certs=options.ca, certfile=options.certificate, keyfile=options.key)
        said = lambda reason: "refused" if reason.is_failure else "let in"
        self.client.on_connect = lambda c, u, flags, reason, properties: self.facts.put(said(reason))
        self.client.on_disconnect = lambda c, u, flags, reason, properties: self.facts.put("ended")
        self.client.connect(options.host, options.tls, keepalive=600)
        self.client.loop_start()

    def next(self):
        return self.facts.get(timeout=WAIT_S)

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()


def revoke(options):
    """A person revokes the certificate."""
    request = urllib.request.Request(
        f"http://{options.http}/api/v1/devices/{options.device}/certificates/{options.fingerprint}",
        headers={"Authorization": f"Bearer {options.token}"},
        method="DELETE",
    )
    urllib.request.urlopen(request, timeout=WAIT_S).close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "ca", "thing", "certificate", "key", "http", "token", "device", "fingerprint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tls", type=int, required=True)
    options = parser.parse_args()
    failed = 0
    live = {name: Device(options, version) for name, version in VERSIONS.items()}
    for name, device in live.items():
        same(f"{name}, with a good certificate", device.next(), "let in")
    revoke(options)
    for name, version in VERSIONS.items():
        try:
            same(f"{name}, the live connection", live[name].next(), "ended")
            again = Device(options, version)
            same(f"{name}, the next connection", again.next(), "refused")
            again.stop()
            print(f"{name}: let in, ended, refused")
        except Exception as error:  # noqa: BLE001: whatever it is, it is what the test is about
            failed = 1
            print(f"{name}: {type(error).__name__}: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
