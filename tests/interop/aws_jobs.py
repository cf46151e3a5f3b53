#!/usr/bin/env python3
"""The device SDKs of AWS IoT for Python, the present one (awsiotsdk, both of its jobs clients) and the older one
(AWSIoTPythonSDK), unmodified, against the hub: a device is told of a job, begins it, fetches the firmware in ranges,
says how far it is, starts anew in the middle, and says which version it runs.

Ends with 0 if everything did what it should, otherwise with 1 and a sentence.

    aws_jobs.py --sdk first --host 127.0.0.1 --tls 8883 --ca ca.pem --thing lamp-1 --certificate lamp.pem \
        --key lamp.key --http 127.0.0.1:8080 --token TOKEN --device ID --credential SECRET --firmware ID
"""
import argparse
import hashlib
import json
import os
import queue
import re
import sys
import urllib.parse
import urllib.request

import awsiot.iotjobs as iotjobs
from AWSIoTPythonSDK.core.jobs.thingJobManager import (
    jobExecutionStatus, jobExecutionTopicReplyType, jobExecutionTopicType)
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTThingJobsClient
from awscrt import mqtt, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, mqtt5_client_builder, mqtt_connection_builder

WAIT_S = 30
QOS = mqtt.QoS.AT_LEAST_ONCE


def same(what, got, expected):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


def of(answer, name):
    """A member of an answer, which is an object of the SDK with names like this one, or JSON with names likeThisOne."""
    if isinstance(answer, dict):
        return answer.get(re.sub("_(.)", lambda match: match[1].upper(), name))
    return getattr(answer, name)


class First:
    """awsiotsdk, its first jobs client, MQTT 3.1.1"""

    def __init__(self, options):
        self.thing, self.heard, self.changes = options.thing, queue.Queue(), queue.Queue()
        self.connection = self.connect(
            cert_filepath=options.certificate, pri_key_filepath=options.key, ca_filepath=options.ca,
            endpoint=options.host, port=options.tls, client_id=f"{self.thing}-jobs",
        )
        self.client = self.jobs()

    def connect(self, **how):
        connection = mqtt_connection_builder.mtls_from_path(clean_session=True, **how)
        connection.connect().result(WAIT_S)
        return connection

    def end(self):
        self.connection.disconnect().result(WAIT_S)

    def jobs(self):
        return iotjobs.IotJobsClient(self.connection)

    def listen(self):
        request = iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=self.thing)
        done, _ = self.client.subscribe_to_next_job_execution_changed_events(request, QOS, self.changes.put)
        done.result(WAIT_S)

    def ask(self, verb, **what):
        """What is answered, and whether it was accepted."""
        kind = "".join(word.capitalize() for word in verb.split("_"))
        place = {name: what[name] for name in ("job_id",) if name in what}
        subscription = getattr(iotjobs, f"{kind}SubscriptionRequest")(thing_name=self.thing, **place)
        for verdict in ("accepted", "rejected"):
            hear = lambda answer, verdict=verdict: self.heard.put((answer, verdict == "accepted"))
            done, _ = getattr(self.client, f"subscribe_to_{verb}_{verdict}")(subscription, QOS, hear)
            done.result(WAIT_S)
        request = getattr(iotjobs, f"{kind}Request")(thing_name=self.thing, **what)
        getattr(self.client, f"publish_{verb}")(request, QOS).result(WAIT_S)
        return self.heard.get(timeout=WAIT_S)


class FirstWith5(First):
    """awsiotsdk, its first jobs client, MQTT 5.0"""

    def connect(self, **how):
        connection = mqtt5_client_builder.mtls_from_path(**how).new_connection()
        connection.connect().result(WAIT_S)
        return connection


class Second(First):
    """awsiotsdk, its second jobs client, MQTT 3.1.1"""

    def jobs(self):
        how = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=2, max_streaming_subscriptions=2, operation_timeout_in_seconds=WAIT_S)
        return iotjobs.IotJobsClientV2(self.connection, how)

    def listen(self):
        status = queue.Queue()
        request = iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=self.thing)
        how = ServiceStreamOptions(incoming_event_listener=self.changes.put, subscription_status_listener=status.put)
        self.stream = self.client.create_next_job_execution_changed_stream(request, how)
        self.stream.open()
        established = mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
        same("the subscription", status.get(timeout=WAIT_S).type, established)

    def ask(self, verb, **what):
        kind = "".join(word.capitalize() for word in verb.split("_"))
        request = getattr(iotjobs, f"{kind}Request")(thing_name=self.thing, **what)
        try:
            return getattr(self.client, verb)(request).result(WAIT_S), True
        except V2ServiceException as refused:
            return refused.modeled_error, False


class SecondWith5(Second):
    """awsiotsdk, its second jobs client, MQTT 5.0"""

    def connect(self, **how):
        connected = queue.Queue()
        client = mqtt5_client_builder.mtls_from_path(on_lifecycle_connection_success=connected.put, **how)
        client.start()
        connected.get(timeout=WAIT_S)
        return client

    def end(self):
        self.connection.stop()


class Older(First):
    """AWSIoTPythonSDK, its jobs client"""

    OPERATIONS = {
        "get_pending_job_executions": jobExecutionTopicType.JOB_GET_PENDING_TOPIC,
        "start_next_pending_job_execution": jobExecutionTopicType.JOB_START_NEXT_TOPIC,
        "describe_job_execution": jobExecutionTopicType.JOB_DESCRIBE_TOPIC,
        "update_job_execution": jobExecutionTopicType.JOB_UPDATE_TOPIC,
    }
    STATUSES = {
        "IN_PROGRESS": jobExecutionStatus.JOB_EXECUTION_IN_PROGRESS,
        "SUCCEEDED": jobExecutionStatus.JOB_EXECUTION_SUCCEEDED,
    }

    def connect(self, endpoint, port, ca_filepath, cert_filepath, pri_key_filepath, client_id):
        client = AWSIoTMQTTThingJobsClient(client_id, self.thing, QoS=1)
        client.configureEndpoint(endpoint, port)
        client.configureCredentials(ca_filepath, pri_key_filepath, cert_filepath)
        client.configureConnectDisconnectTimeout(WAIT_S)
        client.configureMQTTOperationTimeout(WAIT_S)
        same("the connection", client.connect(), True)
        return client

    def end(self):
        self.connection.disconnect()

    def jobs(self):
        return self.connection

    def listen(self):
        hear = lambda _client, _data, message: self.changes.put(json.loads(message.payload))
        topic = jobExecutionTopicType.JOB_NOTIFY_NEXT_TOPIC
        same("the subscription", self.client.createJobSubscription(hear, topic), True)

    def ask(self, verb, job_id=None, status=None, status_details=None, **what):
        operation = self.OPERATIONS[verb]
        for reply, is_accepted in (
            (jobExecutionTopicReplyType.JOB_ACCEPTED_REPLY_TYPE, True),
            (jobExecutionTopicReplyType.JOB_REJECTED_REPLY_TYPE, False),
        ):
            hear = lambda _client, _data, message, ok=is_accepted: self.heard.put((json.loads(message.payload), ok))
            same("the subscription", self.client.createJobSubscription(hear, operation, reply, job_id), True)
        if verb == "start_next_pending_job_execution":
            self.client.sendJobsStartNext(status_details)
        elif verb == "describe_job_execution":
            self.client.sendJobsDescribe(job_id)
        elif verb == "update_job_execution":
            expected = what.get("expected_version", 0)
            self.client.sendJobsUpdate(job_id, self.STATUSES[status], status_details, expected)
        else:
            self.client.sendJobsQuery(operation)
        return self.heard.get(timeout=WAIT_S)


def deploy(options):
    """A person gives the device the firmware."""
    order = {"firmware": options.firmware, "devices": [options.device], "health_window_seconds": 5}
    request = urllib.request.Request(
        f"http://{options.http}/api/v1/deployments",
        data=json.dumps(order).encode(),
        headers={"Authorization": f"Bearer {options.token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return json.load(answer)["id"]


def fetch(options, document):
    """The firmware in two ranges, with the credential of the device."""
    half, body = document["size"] // 2, b""
    for part in (f"bytes=0-{half - 1}", f"bytes={half}-"):
        headers = {"Authorization": f"Bearer {options.credential}", "Range": part}
        url = urllib.parse.urljoin(f"http://{options.http}", document["url"])
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            same("a part", answer.status, 206)
            body += answer.read()
    same("the size", len(body), document["size"])
    same("the digest", f"sha256:{hashlib.sha256(body).hexdigest()}", document["digest"])


def run(sdk, options):
    device = sdk(options)
    device.listen()
    job = deploy(options)
    told = of(device.changes.get(timeout=WAIT_S), "execution")
    same("what it is told", (of(told, "job_id"), of(told, "status")), (job, "QUEUED"))
    pending, _ = device.ask("get_pending_job_executions")
    same("what is pending", [of(it, "job_id") for it in of(pending, "queued_jobs")], [job])
    started, _ = device.ask("start_next_pending_job_execution", status_details={"step": "download"})
    execution = of(started, "execution")
    same("the start", (of(execution, "status"), of(execution, "version_number")), ("IN_PROGRESS", 2))
    document = of(execution, "job_document")
    same("what to do", document["operation"], "firmware")
    fetch(options, document)
    how = {"job_id": job, "status": "IN_PROGRESS", "status_details": {"step": "install"}, "expected_version": 2}
    same("its progress", device.ask("update_job_execution", **how)[1], True)
    refused, is_accepted = device.ask("update_job_execution", **how)
    same("an old version", (is_accepted, of(refused, "code")), (False, "VersionMismatch"))
    same("the present one", of(of(refused, "execution_state"), "version_number"), 3)
    device.end()

    restarted = sdk(options)
    found, _ = restarted.ask("describe_job_execution", job_id="$next")
    same("what it left", of(of(found, "execution"), "status_details"), {"step": "install"})
    details = {"running_version": document["version"]}
    ended = restarted.ask("update_job_execution", job_id=job, status="SUCCEEDED", status_details=details)
    same("the end", ended[1], True)
    refused, is_accepted = restarted.ask("describe_job_execution", job_id=job)
    same("what has ended", (is_accepted, of(refused, "code")), (False, "TerminalStateReached"))
    pending, _ = restarted.ask("get_pending_job_executions")
    same("what is left", (of(pending, "queued_jobs"), of(pending, "in_progress_jobs")), ([], []))
    print(f"{sdk.__doc__}: {job}", flush=True)
    # It stays connected until the health window has passed.
    sys.stdin.read()
    restarted.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sdks = {sdk.__name__: sdk for sdk in (First, FirstWith5, Second, SecondWith5, Older)}
    for name in ("host", "ca", "thing", "certificate", "key", "http", "token", "device", "credential", "firmware"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--tls", type=int, required=True)
    parser.add_argument("--sdk", choices=sdks, required=True)
    options = parser.parse_args()
    try:
        run(sdks[options.sdk], options)
    except Exception as error:  # noqa: BLE001: whatever it is, it is what the test is about
        print(f"{options.sdk}: {type(error).__name__}: {error}")
        sys.exit(1)
    # All that is tested is over. The native library of the SDK now and then spoils its own heap while Python takes it
    # down, and the process would die of that.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
