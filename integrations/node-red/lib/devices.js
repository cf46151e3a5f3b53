//! Which devices a node means: one by id or name, those of a selector, or all.
'use strict';

/** How many devices a selector may have here. */
const DEVICES_MAX = 1000;
/** Several changes at once cause one question. */
const SETTLE_MS = 300;

/** The path that asks for the devices that a choice may mean. */
function pathOf({ by, which }) {
  const query = new URLSearchParams({ limit: String(DEVICES_MAX) });
  if (which !== '') query.set(by === 'selector' ? 'selector' : 'q', which);
  return `/api/v1/devices?${query}`;
}

/** What a message or the settings of a node say: `msg.device` and `msg.selector` go before them. */
function choiceOf(settings, msg = {}) {
  if (typeof msg.device === 'string') return { by: 'device', which: msg.device };
  if (typeof msg.device?.id === 'string') return { by: 'device', which: msg.device.id };
  if (typeof msg.selector === 'string') return { by: 'selector', which: msg.selector };
  return { by: settings.by === 'selector' ? 'selector' : 'device', which: (settings.which ?? '').trim() };
}

/** The devices of a choice. Rejects if one is meant and there is none. */
async function find(hub, choice) {
  const { items } = await hub.request('GET', pathOf(choice));
  if (choice.by === 'selector' || choice.which === '') return items;
  const one =
    items.find((device) => device.id === choice.which) ??
    items.find((device) => device.name === choice.which) ??
    items.find((device) => device.external_id === choice.which);
  if (one === undefined) throw new Error(`there is no device ${choice.which}`);
  return [one];
}

/** A choice to send something to; refuses to mean all devices by leaving it empty. */
async function findToSend(hub, choice) {
  if (choice.which === '')
    throw new Error('say for which device: in the node, or as msg.device or msg.selector');
  const devices = await find(hub, choice);
  if (devices.length === 0) throw new Error(`no device satisfies ${choice.which}`);
  return devices;
}

/**
 * Keeps asking which devices a choice means, whenever something about a device changed. Tells them, by id,
 * whenever it asked; `failed` is told why it could not. Returns a listener for the live link, with a `close`.
 */
function follow(hub, choice, found, failed) {
  let timer;
  let isClosed = false;
  let round = 0;
  async function load() {
    clearTimeout(timer);
    timer = undefined;
    const mine = ++round;
    try {
      const devices = await find(hub, choice);
      if (!isClosed && mine === round) found(new Map(devices.map((device) => [device.id, device])));
    } catch (error) {
      if (!isClosed && mine === round) failed(error);
    }
  }
  return {
    load,
    changes(changes) {
      if (changes.some((change) => change.noun === 'device' && change.kind !== 'device_event')) {
        timer ??= setTimeout(load, SETTLE_MS);
      }
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

module.exports = { choiceOf, find, findToSend, follow };
