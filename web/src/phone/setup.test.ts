import { afterEach, describe, expect, test, vi } from 'vitest';
import { find, join, wrongWith } from './setup';

type Call = { url: string; init: RequestInit };
const answer = (status: number, body: unknown): Response => new Response(JSON.stringify(body), { status });

function device(...answers: (Response | Error)[]): Call[] {
  const calls: Call[] = [];
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    calls.push({ url, init });
    const next = answers.shift();
    return next instanceof Response ? Promise.resolve(next) : Promise.reject(next ?? new Error('gone'));
  });
  return calls;
}

afterEach(() => vi.unstubAllGlobals());

describe('finding a device', () => {
  test('it says its id', async () => {
    device(answer(200, { id: 'b1946a', app: 'smartlight' }));
    expect(await find()).toEqual({ ok: true, value: { id: 'b1946a', model: 'smartlight' } });
  });

  test('nobody there, something else there, a refusal: each is told', async () => {
    device(new TypeError('Failed to fetch'));
    expect(await find()).toMatchObject({ ok: false, why: expect.stringContaining('does not answer') });
    device(answer(200, { hello: 'router' }));
    expect(await find()).toMatchObject({ ok: false, why: expect.stringContaining('not a device') });
    device(answer(403, { code: 403, message: 'no' }));
    expect(await find()).toMatchObject({ ok: false, why: 'The device refuses Sys.GetInfo: no' });
  });
});

describe('joining the Wi-Fi of the house', () => {
  test('all is set at once, and saved with a restart, as plain text without a preflight', async () => {
    const calls = device(answer(200, null), answer(200, { saved: true }));
    expect(await join('Home', 'a good password')).toEqual({ ok: true, value: null });
    expect(calls.map((call) => call.url)).toEqual([
      'http://192.168.4.1/rpc/Config.Set',
      'http://192.168.4.1/rpc/Config.Save',
    ]);
    expect(JSON.parse(String(calls[0]?.init.body))).toEqual({
      config: {
        wifi: { ap: { enable: false }, sta: { ssid: 'Home', pass: 'a good password', enable: true } },
        dash: { enable: true },
      },
    });
    expect(JSON.parse(String(calls[1]?.init.body))).toEqual({ reboot: true });
    expect(calls[0]?.init.headers).toEqual({ 'content-type': 'application/x-www-form-urlencoded' });
  });

  test('what no Wi-Fi can have is not sent', async () => {
    const calls = device();
    for (const [ssid, password] of [
      ['', 'a good password'],
      ['x'.repeat(33), ''],
      ['Home', 'short'],
      ['Home', 'x'.repeat(65)],
    ] as const) {
      expect(wrongWith(ssid, password)).not.toBeNull();
      expect(await join(ssid, password)).toMatchObject({ ok: false });
    }
    expect(wrongWith('Offen', '')).toBeNull();
    expect(calls).toEqual([]);
  });
});
