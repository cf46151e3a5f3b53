# Reads config.json.
import json

from mh import slots


def wrong(config):
    """A sentence about what is wrong with the settings; None if nothing is."""
    if not isinstance(config, dict):
        return "it is no JSON object"
    for path in ("hub.host", "device", "credential"):
        value = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, str) or not value:
            return path + " is missing: it is a text in double quotes"
        if any(ord(char) < 32 for char in value) or path == "device" and any(char in "/+#" for char in value):
            return path + " has a character that cannot be in it"
    hub = config["hub"]
    if ":" in hub["host"] or "/" in hub["host"]:
        return "hub.host is a name or an address, without http:// and without a port"
    if "ca" in hub and not slots.size(str(hub["ca"])):
        return "hub.ca is the name of a file on the board, with the certificate of the hub's authority"
    for key, usual in (("mqtt", 8883), ("http", 8443)) if "ca" in hub else (("mqtt", 1883), ("http", 8080)):
        port = hub.get(key, usual)
        if not isinstance(port, int) or not 0 < port < 65536:
            return "hub.%s is a port: a number from 1 to 65535" % key
        hub[key] = port
    for key, kind, name in (("capabilities", list, "a list of texts"), ("attributes", dict, "an object")):
        if not isinstance(config.setdefault(key, kind()), kind):
            return key + " is " + name


def read():
    """The settings, or None and what is wrong with them."""
    text = slots.read("config.json")
    if text is None:
        return None, "config.json is missing on the board"
    try:
        config = json.loads(text)
    except ValueError as error:
        return None, "config.json is not JSON: %s" % error
    problem = wrong(config)
    return (None, "config.json: " + problem) if problem else (config, None)
