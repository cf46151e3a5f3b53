// What people call the firmware families.
import type { Dialect } from '../api/contract';

export const DIALECTS: Record<Dialect, { name: string; hint: string }> = {
  nodemcu: {
    name: 'NodeMCU (IoT Executor)',
    hint: 'A NodeMCU board with IoT Executor firmware, as it is.',
  },
  native: {
    name: 'Native (agent, MQTT, HTTP)',
    hint: 'A NodeMCU board with Motehub’s agent, or firmware of your own that speaks the native protocol.',
  },
  micropython: {
    name: 'MicroPython (agent)',
    hint: 'A board with MicroPython and Motehub’s agent: an ESP32, a Raspberry Pi Pico W and the like.',
  },
  mongoose: {
    name: 'Mongoose OS (mDash)',
    hint: 'A Mongoose OS device that was made for mDash, as it is. The hub needs its listener: --mdash.',
  },
  riot: {
    name: 'RIOT (CoAP)',
    hint: 'A RIOT node that was made for Pyaiot, as it is. It proves nothing of itself; the hub needs its listener: --coap.',
  },
  'esp-firmware': {
    name: 'ESP-FIRMWARE (MicroPython)',
    hint: 'A MicroPython board with ESP-FIRMWARE, as it is. It proves nothing of itself; the hub needs --esp-firmware.',
  },
  line: {
    name: 'Line (plain TCP unit)',
    hint: 'A sensor or lamp on a TCP port that says or takes lines of text. It proves nothing of itself: its address is all that tells it from others.',
  },
};

/** Whether its devices speak Motehub’s own protocol. */
export const speaksNative = (dialect: Dialect): boolean => dialect === 'native' || dialect === 'micropython';
