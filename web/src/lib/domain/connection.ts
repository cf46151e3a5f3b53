//! MQTT connections in words: transports, sizes, and why something was dropped or refused.
import type { BrokerTotals } from '../api/contract';

const TRANSPORTS: Record<string, string> = { tcp: 'TCP', tls: 'TLS', ws: 'WebSocket', wss: 'WebSocket, TLS' };

export function transportOf(transport: string | null): string {
  return transport === null ? '' : (TRANSPORTS[transport] ?? transport);
}

/** «850 B», «12.4 kB», «3.1 MB». */
export function sizeOf(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, divisor] =
    bytes < 1e6 ? (['kB', 1e3] as const) : bytes < 1e9 ? (['MB', 1e6] as const) : (['GB', 1e9] as const);
  return `${(bytes / divisor).toFixed(1)} ${unit}`;
}

export type Loss = { text: string; count: number };

export function droppedOf(dropped: BrokerTotals['dropped']): Loss[] {
  return [
    { text: 'dropped because a queue was full', count: dropped.full },
    { text: 'dropped for slow readers', count: dropped.slow },
    { text: 'dropped because all queues together were full', count: dropped.memory },
    { text: 'dropped as too large for a client', count: dropped.large },
    { text: 'expired while they waited', count: dropped.expired },
    { text: 'dropped for want of rights', count: dropped.rights },
    { text: 'not retained for want of room', count: dropped.retained },
  ];
}

export function refusedOf(refused: BrokerTotals['refused']): Loss[] {
  return [
    { text: 'refused with wrong credentials', count: refused.credentials },
    { text: 'refused beyond a limit', count: refused.limit },
    { text: 'refused for want of rights', count: refused.rights },
    { text: 'refused for their payload', count: refused.payload },
    { text: 'refused because the disk could not take them', count: refused.unavailable },
    { text: 'connections ended for broken packets', count: refused.protocol },
  ];
}
