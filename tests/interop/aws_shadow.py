#!/usr/bin/env python3
"""The device SDKs of AWS IoT for Python, the present one (awsiotsdk) and the older one (AWSIoTPythonSDK), unmodified,
against the hub: a shadow is read, changed, told as a delta, and deleted, over TLS with a client certificate, by MQTT
3.1.1 and, with the present one, 5.0.

Ends with 0 if everything did what it should, otherwise with 1 and a sentence for each part that did not.

    aws_shadow.py --host 127.0.0.1 --tls 8883 --ca ca.pem --thing lamp-1 --certificate lamp.pem --key lamp.key \
        --http 127.0.0.1:8080 --token TOKEN --device ID
"""
import argparse
import concurrent.futures
import json
import queue
import sys
import urllib.request

import awsiot.iotshadow as iotshadow
from awscrt import mqtt
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTShadowClient

WAIT_S = 15


def wish(options, desired):
    """A person wishes for something."""
    request = urllib.request.Request(
        f"http://{options.http}/api/v1/devices/{options.device}/shadow",
        data=json.dumps({"state": {"desired": desired}}).encode(),
        headers={"Authorization": f"Bearer {options.token}"},
        method="PATCH",
    )
    urllib.request.urlopen(request, timeout=WAIT_S).close()


def same(what, got, expected):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


class Present:
    """awsiotsdk: its shadow client over its own MQTT connection."""

    def __init__(self, options):
        self.options, self.thing = options, options.thing
        self.heard = queue.Queue()
        self.connection = self.connect(
            cert_filepath=options.certificate, pri_key_filepath=options.key, ca_filepath=options.ca,
            endpoint=options.host, port=options.tls, client_id=f"{self.thing}-{type(self).__name__}",
        )
        self.connection.connect().result(WAIT_S)
        self.client = iotshadow.IotShadowClient(self.connection)

    def connect(self, **how):
        return mqtt_connection_builder.mtls_from_path(clean_session=True, **how)

    def subscribe(self, verb, request, rejected=True):
        """Hears what comes back, as ("accepted", …) or ("rejected", …)."""
        names = ["accepted", "rejected"] if rejected else ["events"]
        for name in names:
            method = getattr(self.client, f"subscribe_to_{verb}_{name}")
            callback = lambda answer, name=name: self.heard.put((name, answer))
            done, _ = method(request=request, qos=mqtt.QoS.AT_LEAST_ONCE, callback=callback)
            done.result(WAIT_S)

    def answer(self, expected):
        name, answer = self.heard.get(timeout=WAIT_S)
        same("the answer", name, expected)
        return answer

    def run(self):
        thing, qos = self.thing, mqtt.QoS.AT_LEAST_ONCE
        self.subscribe("get_shadow", iotshadow.GetShadowSubscriptionRequest(thing_name=thing))
        self.subscribe("update_shadow", iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing))
        self.subscribe("delete_shadow", iotshadow.DeleteShadowSubscriptionRequest(thing_name=thing))
        self.client.publish_get_shadow(iotshadow.GetShadowRequest(thing_name=thing, client_token="a"), qos).result(WAIT_S)
        refused = self.answer("rejected")
        same("a shadow that is not there", (refused.code, refused.client_token), (404, "a"))
        state = iotshadow.ShadowState(reported={"on": False})
        update = iotshadow.UpdateShadowRequest(thing_name=thing, state=state, client_token="b")
        self.client.publish_update_shadow(update, qos).result(WAIT_S)
        taken = self.answer("accepted")
        same("the update", (taken.state.reported, taken.client_token), ({"on": False}, "b"))
        first = taken.version
        deltas = iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing)
        self.subscribe("shadow_delta_updated", deltas, rejected=False)
        wish(self.options, {"on": True})
        told = [self.heard.get(timeout=WAIT_S) for _ in range(2)]
        same("the order", [name for name, _ in told], ["accepted", "events"])
        same("the delta", (told[1][1].state, told[1][1].version), ({"on": True}, first + 1))
        state = iotshadow.ShadowState(reported={"on": True})
        update = iotshadow.UpdateShadowRequest(thing_name=thing, state=state, version=first + 1)
        self.client.publish_update_shadow(update, qos).result(WAIT_S)
        same("the report", self.answer("accepted").version, first + 2)
        self.client.publish_update_shadow(update, qos).result(WAIT_S)
        same("an old version", self.answer("rejected").code, 409)
        self.client.publish_get_shadow(iotshadow.GetShadowRequest(thing_name=thing), qos).result(WAIT_S)
        whole = self.answer("accepted")
        same("the whole", (whole.state.desired, whole.state.reported, whole.state.delta), ({"on": True}, {"on": True}, None))
        self.client.publish_delete_shadow(iotshadow.DeleteShadowRequest(thing_name=thing), qos).result(WAIT_S)
        same("the deletion", self.answer("accepted").version, first + 2)
        self.connection.disconnect().result(WAIT_S)


class PresentWith5(Present):
    """awsiotsdk with MQTT 5.0: the same over another client."""

    def connect(self, **how):
        return mqtt5_client_builder.mtls_from_path(**how).new_connection()


class Older:
    """AWSIoTPythonSDK: its shadow handler, which deals with topics by itself."""

    def __init__(self, options):
        self.options = options
        self.client = AWSIoTMQTTShadowClient(f"{options.thing}-older")
        self.client.configureEndpoint(options.host, options.tls)
        self.client.configureCredentials(options.ca, options.key, options.certificate)
        self.client.configureConnectDisconnectTimeout(WAIT_S)
        self.client.configureMQTTOperationTimeout(WAIT_S)

    def ask(self, method, *payload):
        answered = concurrent.futures.Future()
        method(*payload, lambda body, status, token: answered.set_result((status, body)), WAIT_S)
        status, body = answered.result(WAIT_S)
        return status, json.loads(body)

    def run(self):
        same("the connection", self.client.connect(), True)
        shadow = self.client.createShadowHandlerWithName(self.options.thing, True)
        deltas = queue.Queue()
        shadow.shadowRegisterDeltaCallback(lambda body, status, token: deltas.put(json.loads(body)["state"]))
        status, body = self.ask(shadow.shadowGet)
        same("a shadow that is not there", (status, body["code"]), ("rejected", 404))
        status, body = self.ask(shadow.shadowUpdate, json.dumps({"state": {"reported": {"on": False}}}))
        same("the update", (status, body["state"]), ("accepted", {"reported": {"on": False}}))
        wish(self.options, {"on": True})
        same("the delta", deltas.get(timeout=WAIT_S), {"on": True})
        status, _ = self.ask(shadow.shadowUpdate, json.dumps({"state": {"reported": {"on": True}}}))
        same("the report", status, "accepted")
        status, body = self.ask(shadow.shadowGet)
        same("the whole", body["state"], {"desired": {"on": True}, "reported": {"on": True}})
        same("the deletion", self.ask(shadow.shadowDelete)[0], "accepted")
        self.client.disconnect()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("host", "ca", "thing", "certificate", "key", "http", "token", "device"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tls", type=int, required=True)
    options = parser.parse_args()
    failed = 0
    for sdk in (Present, PresentWith5, Older):
        try:
            sdk(options).run()
            print(f"{sdk.__doc__.split(':')[0]}: get, update, delta, delete")
        except Exception as error:  # noqa: BLE001: whatever it is, it is what the test is about
            failed = 1
            print(f"{sdk.__doc__.split(':')[0]}: {type(error).__name__}: {error}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
