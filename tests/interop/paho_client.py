#!/usr/bin/env python3
"""Eclipse paho against the MQTT gateway: 3.1.1 and 5.0, over plain TCP, TLS, WebSocket and WebSocket over TLS.

Needs paho-mqtt 2.x. Every part is tried for every version and every port that is given; ends with 0 if all of
them did what they should, otherwise with 1 and a sentence for each that did not.

    paho_client.py --host 127.0.0.1 --tcp 1883 --tls 8883 --ws 8083 --ca ca.pem \
        --device-user 1234 --device-password SECRET [--app-user NAME --app-password SECRET] \
        --wrong-password nonsense --telemetry-topic devices/1234/telemetry --topic devices/1234/interop
"""
import argparse
import queue
import ssl
import sys
import threading
import time
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT_S = 10


class Failure(Exception):
    pass


class Session:
    """A paho client whose events can be waited for."""

    def __init__(self, options, transport, port, version, client_id, user, password, clean=True, will=None):
        websocket = transport in ("ws", "wss")
        arguments = {"clean_session": clean} if version == mqtt.MQTTv311 else {}
        self.version = version
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            transport="websockets" if websocket else "tcp",
            **arguments,
        )
        self.messages = queue.Queue()
        self.acknowledged = {}
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.disconnected = queue.Queue()
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_connect = lambda _c, _u, flags, reason, props: self.connected.put((flags, reason, props))
        self.client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self.subscribed.put(reasons)
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.disconnected.put(reason)
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self.acknowledged.__setitem__(mid, reason)
        self.client.username_pw_set(user, password)
        if transport in ("tls", "wss"):
            self.client.tls_set(ca_certs=options.ca, cert_reqs=ssl.CERT_REQUIRED)
            self.client.tls_insecure_set(options.host != "localhost")
        if will:
            self.client.will_set(*will)
        properties = None
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 60
        extra = {"clean_start": clean, "properties": properties} if version == mqtt.MQTTv5 else {}
        self.client.connect(options.host, port, keepalive=30, **extra)
        self.client.loop_start()

    def up(self):
        flags, reason, properties = take(self.connected, "CONNACK")
        if reason.is_failure:
            raise Failure(f"the connection was refused: {reason}")
        return flags, properties

    def refused(self):
        _, reason, _ = take(self.connected, "CONNACK")
        self.end()
        return reason

    def subscribe(self, *arguments, **named):
        self.client.subscribe(*arguments, **named)
        return take(self.subscribed, "SUBACK")

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(WAIT_S)
        if not info.is_published():
            raise Failure(f"no acknowledgement of QoS {qos} within {WAIT_S} s")
        return self.acknowledged.get(info.mid)

    def message(self):
        return take(self.messages, "a message")

    def silence(self, seconds=0.3):
        try:
            message = self.messages.get(timeout=seconds)
        except queue.Empty:
            return
        raise Failure(f"an unexpected message came on {message.topic}")

    def cut(self):
        """The cable is cut: the socket is closed without DISCONNECT."""
        self.client.on_disconnect = None
        self.client._sock_close()
        self.client.loop_stop()

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def take(events, what):
    try:
        return events.get(timeout=WAIT_S)
    except queue.Empty:
        raise Failure(f"{what} did not come within {WAIT_S} s") from None


def check(holds, sentence):
    if not holds:
        raise Failure(sentence)


class Parts:
    """Each method is one part; `new` makes a session of the device on the transport and version that is tried."""

    def __init__(self, options, transport, port, version):
        self.options, self.transport, self.port, self.version = options, transport, port, version
        self.is_v5 = version == mqtt.MQTTv5
        self.topic = f"{options.topic}/{transport}{version}"
        self.sessions = []

    def new(self, name="", password=None, **named):
        # Client identifiers are free within one user; sessions of different runs must not meet.
        client_id = f"interop-{name}-{uuid.uuid4().hex[:8]}" if "client_id" not in named else named.pop("client_id")
        user = self.options.device_user
        password = self.options.device_password if password is None else password
        session = Session(self.options, self.transport, self.port, self.version, client_id, user, password, **named)
        self.sessions.append(session)
        return session

    def a_wrong_password_is_refused(self):
        reason = self.new(password=self.options.wrong_password).refused()
        check(reason.is_failure, "a wrong password was accepted")

    def messages_of_every_quality_arrive_once(self):
        session = self.new()
        session.up()
        session.subscribe(f"{self.topic}/+", 2)
        for qos in (0, 1, 2):
            payload = f"hello {qos}".encode()
            session.publish(f"{self.topic}/q{qos}", payload, qos)
            message = session.message()
            check((message.payload, message.qos) == (payload, qos), f"QoS {qos} came back wrong")
            check(message.topic == f"{self.topic}/q{qos}", "the topic is wrong")
        session.silence()

    def telemetry_is_acknowledged(self):
        session = self.new()
        session.up()
        topic = self.options.telemetry_topic
        for qos in (0, 1, 2):
            reason = session.publish(topic, b'{"interop": 1}', qos)
            check(reason is None or not reason.is_failure, f"telemetry was refused: {reason}")
        reason = session.publish(topic, b"\xff not telemetry", 1)
        check(not self.is_v5 or reason.value == 0x99, f"nonsense was not refused with 0x99 but {reason}")
        reason = session.publish("devices/somebody-else/telemetry", b"1", 1)
        check(not self.is_v5 or reason.value == 0x87, f"a foreign topic was not refused with 0x87 but {reason}")

    def many_messages_keep_their_order(self):
        session = self.new()
        session.up()
        session.subscribe(self.topic, 1)
        infos = [session.client.publish(self.topic, str(number), 1) for number in range(300)]
        numbers = [int(session.message().payload) for _ in infos]
        check(numbers == list(range(300)), "300 messages of QoS 1 came out of order or incomplete")
        for info in infos:
            info.wait_for_publish(WAIT_S)

    def a_large_message_arrives(self):
        session = self.new()
        session.up()
        session.subscribe(self.topic, 1)
        payload = bytes(range(256)) * 2000
        session.publish(self.topic, payload, 1)
        check(session.message().payload == payload, "512,000 bytes came back wrong")

    def a_foreign_subscription_is_refused(self):
        session = self.new()
        session.up()
        reasons = session.subscribe([("#", 0), ("devices/+/telemetry", 0), (self.topic, 1)])
        check([r.is_failure for r in reasons] == [True, True, False], f"SUBACK said {reasons}")

    def retained_messages_are_kept_and_deleted(self):
        session = self.new()
        session.up()
        session.publish(f"{self.topic}/kept", b"old", 1, retain=True)
        session.subscribe(f"{self.topic}/#", 1)
        message = session.message()
        check(message.retain and message.payload == b"old", "the retained message did not come")
        session.publish(f"{self.topic}/kept", b"", 1, retain=True)
        check(not session.message().retain, "a live message has the RETAIN flag")
        other = self.new()
        other.up()
        other.subscribe(f"{self.topic}/#", 1)
        other.silence()

    def a_will_is_sent_when_the_cable_is_cut(self):
        watcher = self.new("watcher")
        watcher.up()
        watcher.subscribe(f"{self.topic}/will", 1)
        victim = self.new("victim", will=(f"{self.topic}/will", b"gone", 1, False))
        victim.up()
        victim.cut()
        check(watcher.message().payload == b"gone", "the will is wrong")
        polite = self.new("polite", will=(f"{self.topic}/will", b"gone", 1, False))
        polite.up()
        polite.end()
        watcher.silence()

    def a_kept_session_queues(self):
        client_id = f"interop-kept-{uuid.uuid4().hex[:8]}"
        session = self.new(client_id=client_id, clean=False)
        session.up()
        session.subscribe(f"{self.topic}/queue", 1)
        session.end()
        other = self.new()
        other.up()
        for number in range(20):
            other.publish(f"{self.topic}/queue", str(number), 1)
        session = self.new(client_id=client_id, clean=False)
        flags, _ = session.up()
        check(flags.session_present, "the session was not kept")
        numbers = [int(session.message().payload) for _ in range(20)]
        check(numbers == list(range(20)), "what was queued came out of order")
        session.end()
        last = self.new(client_id=client_id, clean=True)
        flags, _ = last.up()
        check(not flags.session_present, "a clean start found a session")

    def a_second_connection_takes_over(self):
        client_id = f"interop-twice-{uuid.uuid4().hex[:8]}"
        first = self.new(client_id=client_id)
        first.up()
        first.client.reconnect_delay_set(60, 60)
        second = self.new(client_id=client_id)
        second.up()
        reason = take(first.disconnected, "the end of the first connection")
        check(not self.is_v5 or reason.value == 0x8E, f"the first was not told 0x8E but {reason}")

    def properties_travel(self):
        if not self.is_v5:
            return
        session = self.new()
        session.up()
        properties = Properties(PacketTypes.SUBSCRIBE)
        properties.SubscriptionIdentifier = 7
        session.subscribe(f"{self.topic}/p", options=SubscribeOptions(qos=1), properties=properties)
        sent = Properties(PacketTypes.PUBLISH)
        sent.ContentType = "text/plain"
        sent.ResponseTopic = "answer/here"
        sent.CorrelationData = b"42"
        sent.UserProperty = [("colour", "grün"), ("colour", "blau")]
        sent.MessageExpiryInterval = 60
        sent.PayloadFormatIndicator = 1
        session.publish(f"{self.topic}/p", "müde", 1, properties=sent)
        came = session.message().properties
        check(came.ContentType == "text/plain" and came.ResponseTopic == "answer/here", "a property was lost")
        check(came.CorrelationData == b"42" and came.SubscriptionIdentifier == [7], "an identifier was lost")
        check(came.UserProperty == [("colour", "grün"), ("colour", "blau")], "user properties changed")
        check(0 < came.MessageExpiryInterval <= 60, "the expiry was lost")
        options = SubscribeOptions(qos=1, noLocal=True)
        session.subscribe(f"{self.topic}/mine", options=options)
        session.publish(f"{self.topic}/mine", b"x", 1)
        session.silence()

    def a_shared_subscription_shares(self):
        members = [self.new(f"member{number}") for number in range(2)]
        for member in members:
            member.up()
            member.subscribe(f"$share/interop/{self.topic}/shared", 1)
        other = self.new()
        other.up()
        for number in range(20):
            other.publish(f"{self.topic}/shared", str(number), 1)
        deadline = time.monotonic() + WAIT_S
        while sum(member.messages.qsize() for member in members) < 20 and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        counts = [member.messages.qsize() for member in members]
        check(counts == [10, 10], f"20 messages were shared as {counts}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    for transport in ("tcp", "tls", "ws", "wss"):
        parser.add_argument(f"--{transport}", type=int, help=f"port of MQTT over {transport}")
    parser.add_argument("--ca", help="certificate to trust, for tls and wss")
    parser.add_argument("--device-user", required=True)
    parser.add_argument("--device-password", required=True)
    parser.add_argument("--wrong-password", default="nonsense")
    parser.add_argument("--telemetry-topic", required=True)
    parser.add_argument("--topic", required=True, help="a topic below which the device may publish and subscribe")
    parser.add_argument("--only", help="the name of one part")
    options = parser.parse_args()
    tried, failures = 0, []
    for transport in ("tcp", "tls", "ws", "wss"):
        port = getattr(options, transport)
        if not port:
            continue
        for version, spoken in ((mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5.0")):
            for name in [n for n, f in vars(Parts).items() if callable(f) and n not in ("__init__", "new")]:
                if options.only and options.only != name:
                    continue
                parts = Parts(options, transport, port, version)
                tried += 1
                try:
                    getattr(parts, name)()
                except (Failure, OSError, ValueError) as error:
                    failures.append(f"{transport} {spoken} {name}: {error}")
                finally:
                    for session in parts.sessions:
                        session.end()
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"paho: {tried - len(failures)} of {tried} parts did what they should")
    sys.exit(1 if failures or not tried else 0)


if __name__ == "__main__":
    main()
