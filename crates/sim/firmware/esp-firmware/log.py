# Says lines on the console and to Logstash: one JSON object per connection, and a failure is nothing.
import json
import socket

import config


def line(name, text):
    print(text)
    if not config.LOGSTASH:
        return
    try:
        sock = socket.socket()
        sock.bind(socket.getaddrinfo(config.ADDRESS, 0)[0][-1])
        sock.connect(socket.getaddrinfo(config.LOGSTASH[0], config.LOGSTASH[1])[0][-1])
        sock.send(json.dumps({"message": text, "client_id": name}).encode())
        sock.close()
    except OSError:
        pass
