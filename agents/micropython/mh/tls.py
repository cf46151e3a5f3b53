# TLS, if config.json names the certificate of the hub's authority.
from mh import agent

kept = None


def context():
    """What the hub's certificate is held against; kept, because making it needs much memory."""
    global kept
    if kept is None:
        try:
            import tls
        except ImportError:
            import ssl as tls
        kept = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        kept.verify_mode = tls.CERT_REQUIRED
        with open(agent.config["hub"]["ca"], "rb") as file:
            kept.load_verify_locations(file.read())
    return kept
