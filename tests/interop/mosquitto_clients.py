#!/usr/bin/env python3
"""mosquitto_pub and mosquitto_sub (Debian package mosquitto-clients) against the MQTT gateway, 3.1.1 and 5.0, over
plain TCP and TLS, and WebSocket if this build of the clients speaks it.

Ends with 0 if everything did what it should, otherwise with 1 and a sentence for each part that did not.

    mosquitto_clients.py --host 127.0.0.1 --tcp 1883 --tls 8883 --ws 8083 --ca ca.pem \
        --device-user 1234 --device-password SECRET --topic devices/1234/interop
"""
import argparse
import subprocess
import sys
import uuid

WAIT_S = 10


def arguments(options, transport, version):
    words = ["-h", options.host, "-p", str(getattr(options, transport)), "-V", version]
    words += ["-u", options.device_user, "-P", options.device_password]
    if transport == "tls":
        words += ["--cafile", options.ca, "--insecure"]
    if transport == "ws":
        words += ["--ws"]
    return words


def publish(common, *words, accepts=(0,)):
    done = subprocess.run(["mosquitto_pub", *common, *words], capture_output=True, text=True, timeout=WAIT_S)
    if done.returncode not in accepts:
        raise AssertionError(f"mosquitto_pub ended with {done.returncode}: {done.stderr.strip()}")
    return done


def parts(options, transport, version):
    """Yields the name of each part and what it found wrong, or None."""
    common = arguments(options, transport, version)
    topic = f"{options.topic}/mosquitto-{uuid.uuid4().hex[:8]}"
    for qos in ("0", "1", "2"):
        # -E subscribes and ends; with -c the session stays, so nothing can be missed between the two programs.
        client = ["-i", f"interop-{uuid.uuid4().hex[:8]}", "-c", "-q", "2", "-t", f"{topic}/#"]
        if version == "mqttv5":
            client += ["-x", "60"]
        expected = [f"{topic}/{number} hello {number}" for number in range(3)]
        try:
            subprocess.run(["mosquitto_sub", *common, *client, "-E"], check=True, timeout=WAIT_S)
            receiver = None
            if qos == "0":
                # QoS 0 is not queued: the receiver has to be there, and says so with a retained message.
                publish(common, "-t", f"{topic}/ready", "-m", "x", "-r", "-q", "1")
                receiver = subprocess.Popen(
                    ["mosquitto_sub", *common, "-t", f"{topic}/#", "-C", "4", "-v"],
                    stdout=subprocess.PIPE, text=True,
                )
                expected.insert(0, receiver.stdout.readline().strip())
            for number in range(3):
                publish(common, "-t", f"{topic}/{number}", "-m", f"hello {number}", "-q", qos)
            if receiver:
                lines = [expected[0], *receiver.communicate(timeout=WAIT_S)[0].splitlines()]
                publish(common, "-t", f"{topic}/ready", "-n", "-r", "-q", "1")
            else:
                done = subprocess.run(
                    ["mosquitto_sub", *common, *client, "-C", "3", "-v", "-W", str(WAIT_S)],
                    capture_output=True, text=True, timeout=2 * WAIT_S,
                )
                lines = done.stdout.splitlines()
            wrong = None if lines == expected else f"expected {expected}, got {lines}"
        except (AssertionError, subprocess.SubprocessError) as error:
            wrong = str(error)
        yield f"QoS {qos}", wrong
    wrong_password = ["x" if word == options.device_password else word for word in common]
    done = subprocess.run(
        ["mosquitto_pub", *wrong_password, "-t", topic, "-m", "x"], capture_output=True, text=True, timeout=WAIT_S
    )
    yield "a wrong password", None if done.returncode != 0 else "it was accepted"
    done = subprocess.run(
        ["mosquitto_sub", *common, "-t", "#", "-E"], capture_output=True, text=True, timeout=WAIT_S
    )
    yield "a foreign subscription", None if "denied" in done.stderr.lower() else f"not denied: {done.stderr!r}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    for transport in ("tcp", "tls", "ws"):
        parser.add_argument(f"--{transport}", type=int, help=f"port of MQTT over {transport}")
    parser.add_argument("--ca", help="certificate to trust, for tls")
    parser.add_argument("--device-user", required=True)
    parser.add_argument("--device-password", required=True)
    parser.add_argument("--topic", required=True, help="a topic below which the device may publish and subscribe")
    options = parser.parse_args()
    manual = subprocess.run(["mosquitto_pub", "--help"], capture_output=True, text=True)
    speaks_websocket = "--ws" in manual.stdout + manual.stderr
    tried, failures = 0, []
    for transport in ("tcp", "tls", "ws"):
        if not getattr(options, transport) or transport == "ws" and not speaks_websocket:
            continue
        for version in ("mqttv311", "mqttv5"):
            for name, wrong in parts(options, transport, version):
                tried += 1
                if wrong:
                    failures.append(f"{transport} {version} {name}: {wrong}")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"mosquitto: {tried - len(failures)} of {tried} parts did what they should")
    sys.exit(1 if failures or not tried else 0)


if __name__ == "__main__":
    main()
