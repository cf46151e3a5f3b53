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
  mongoose: {
    name: 'Mongoose OS (mDash)',
    hint: 'A Mongoose OS device that was made for mDash, as it is. The hub needs its listener: --mdash.',
  },
  riot: {
    name: 'RIOT (CoAP)',
    hint: 'A RIOT node that was made for Pyaiot, as it is. It proves nothing of itself; the hub needs its listener: --coap.',
  },
};
