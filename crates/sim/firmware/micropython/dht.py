# A sensor of temperature and humidity whose values are slow waves, for virtual boards.
import math
import time


class DHT22:
    def __init__(self, pin):
        self._at = 0

    def measure(self):
        self._at = time.time()

    def temperature(self):
        return round(21 + 3 * math.sin(self._at / 30), 1)

    def humidity(self):
        return round(50 + 10 * math.sin(self._at / 47), 1)


DHT11 = DHT22
