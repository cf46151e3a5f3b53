//! The local side of a new device: the HTTP calls that a Mongoose OS device serves in its own Wi-Fi. The phone is
//! not connected to the hub meanwhile.

/** Where a device is while the phone is in its Wi-Fi. */
const DEVICE = 'http://192.168.4.1';
const TIMEOUT_MS = 10_000;
const SSID_BYTES_MAX = 32;
const PASSWORD_BYTES = { min: 8, max: 64 };

export type Found = { id: string; model: string };
export type Answer<T> = { ok: true; value: T } | { ok: false; why: string };

/** Asks who is there. */
export async function find(): Promise<Answer<Found>> {
  const said = await call('Sys.GetInfo');
  if (!said.ok) return said;
  const { id, app } = said.value as { id?: unknown; app?: unknown };
  if (typeof id !== 'string' || id === '')
    return { ok: false, why: 'Something answered, but it is not a device of this kind.' };
  return { ok: true, value: { id, model: typeof app === 'string' ? app : 'device' } };
}

/**
 * Tells the device the Wi-Fi of the house, and to connect to the hub; it starts again and leaves its own Wi-Fi.
 * All of it is set at once and then saved once, so that a phone that goes away in the middle leaves nothing half.
 */
export async function join(ssid: string, password: string): Promise<Answer<null>> {
  const wrong = wrongWith(ssid, password);
  if (wrong !== null) return { ok: false, why: wrong };
  const sta = { ssid, pass: password, enable: true };
  const config = { wifi: { ap: { enable: false }, sta }, dash: { enable: true } };
  const set = await call('Config.Set', { config });
  if (!set.ok) return set;
  const saved = await call('Config.Save', { reboot: true });
  return saved.ok ? { ok: true, value: null } : saved;
}

/** What no Wi-Fi can have is found before the device goes looking for it. */
export function wrongWith(ssid: string, password: string): string | null {
  const bytes = (text: string): number => new TextEncoder().encode(text).length;
  if (ssid === '' || bytes(ssid) > SSID_BYTES_MAX) return 'The name of a Wi-Fi has 1 to 32 characters.';
  const length = bytes(password);
  if (length > 0 && (length < PASSWORD_BYTES.min || length > PASSWORD_BYTES.max))
    return 'The password of a Wi-Fi has 8 to 63 characters, or there is none.';
  return null;
}

/**
 * One call. The body is sent as text, as the original app did: the device answers no preflight. An address such as
 * this one is known to be nearby: browsers that let a page from HTTPS reach such devices ask the person first.
 */
async function call(method: string, params?: object): Promise<Answer<unknown>> {
  const sent: RequestInit =
    params === undefined ? {} : { method: 'POST', body: JSON.stringify(params), headers: FORM };
  let response: Response;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    response = await fetch(`${DEVICE}/rpc/${method}`, { ...sent, signal, cache: 'no-store' });
  } catch {
    return { ok: false, why: 'The device does not answer. Is the phone in the Wi-Fi of the device?' };
  }
  const body: unknown = await response.json().catch(() => null);
  if (response.ok) return { ok: true, value: body ?? {} };
  const said = (body as { message?: unknown } | null)?.message;
  const why = typeof said === 'string' ? said : `HTTP ${response.status}`;
  return { ok: false, why: `The device refuses ${method}: ${why}` };
}

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

/** A page that came by HTTPS may not call a device by HTTP, unless the browser can ask for that. */
export function mayBeBlocked(): boolean {
  return location.protocol === 'https:';
}
