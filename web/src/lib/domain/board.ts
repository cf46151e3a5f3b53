//! What has to be written on a NodeMCU board so that it finds this hub: the lines of config.txt for IoT Executor
//! firmware, and config.json for Motehub's own agent.

export type ConfigLine = { key: string; value: string; note: string };

/**
 * The lines for a board, given how the browser reaches the hub, the MQTT port and the credential shown
 * once.
 */
export function configLines(
  host: string,
  mqttPort: string,
  chipId: string,
  credential: string,
): ConfigLine[] {
  const name = host.replace(/:\d+$/, '');
  return [
    {
      key: 'domain',
      value: `${host}/d/${credential}`,
      note: 'where the board polls; the path is its secret',
    },
    { key: 'mqttbroker', value: name, note: 'host of the MQTT listener' },
    { key: 'mqttport', value: mqttPort, note: 'port of the MQTT listener' },
    { key: 'mqttuser', value: chipId, note: 'the chip id' },
    { key: 'mqttpass', value: credential, note: 'the credential' },
  ];
}

export function configText(lines: ConfigLine[]): string {
  return lines.map((line) => `${line.key}=${line.value}\n`).join('');
}

/**
 * The config.json of a board with the agent; the Wi-Fi is for the person to fill in. Ports that a browser leaves
 * out are those of the web.
 */
export function agentConfig(
  address: { host: string; secure: boolean },
  mqttPort: string,
  device: string,
  credential: string,
): string {
  const port = /:(\d+)$/.exec(address.host)?.[1];
  const http = port === undefined ? (address.secure ? 443 : 80) : Number(port);
  const config = {
    wifi: { ssid: '', password: '' },
    hub: { host: address.host.replace(/:\d+$/, ''), mqtt: Number(mqttPort), http },
    device,
    credential,
    capabilities: [],
    attributes: {},
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Why a chip id is not one, or null. `node.chipid()` is a 32-bit number, written in decimal digits. */
export function chipIdProblem(text: string): string | null {
  if (text === '') return 'The chip id is needed: it is what node.chipid() prints on the board.';
  if (!/^\d+$/.test(text)) return 'A chip id has decimal digits only, as node.chipid() prints it.';
  return Number(text) > 0xffff_ffff ? 'A chip id is at most 4294967295.' : null;
}
