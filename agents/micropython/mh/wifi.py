# Joins the Wi-Fi of config.json, on boards that have one.
import asyncio

JOIN_SECONDS = 20


async def join(config):
    """Raises OSError when the board cannot join."""
    wifi = config.get("wifi")
    if not wifi:
        return
    import network

    station = network.WLAN(network.STA_IF)
    station.active(True)
    if station.isconnected():
        return
    station.connect(wifi.get("ssid"), wifi.get("password"))
    for _ in range(JOIN_SECONDS * 5):
        if station.isconnected():
            return
        await asyncio.sleep_ms(200)
    raise OSError("the Wi-Fi %s is not there" % wifi.get("ssid"))
