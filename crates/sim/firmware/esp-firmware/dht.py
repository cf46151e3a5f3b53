# A sensor that always says the same, as the one of this firmware outside of a chip.


class DHT22:
    def __init__(self, pin):
        pass

    def measure(self):
        pass

    def temperature(self):
        return 30

    def humidity(self):
        return 30


DHT11 = DHT22
