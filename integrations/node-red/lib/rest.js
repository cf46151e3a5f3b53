//! Requests to the API of a hub. Not by fetch: that knows no authority of its own for TLS.
'use strict';

const http = require('node:http');
const https = require('node:https');

const TIMEOUT_MS = 15_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

/** The address of a hub as a URL without a slash at its end; throws a sentence for people. */
function readAddress(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new Error(`the address of the hub is not a URL such as http://192.0.2.5:8080: ${text}`);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new Error(`the address of the hub begins with http:// or https://, not ${url.protocol}//`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new Error('the address of the hub has no password: the API token is a field of its own');
  }
  return url.href.split(/[?#]/)[0].replace(/\/+$/, '');
}

/**
 * Requests something. `hub` has `address`, `token`, and in `tls` what Node wants to know of TLS. Resolves to the
 * JSON of the answer, or null; rejects with an Error that has `status` and `code` if the hub refused.
 */
function request(hub, method, path, body) {
  const send = hub.address.startsWith('https:') ? https.request : http.request;
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = { Authorization: `Bearer ${hub.token}`, Accept: 'application/json' };
  if (text !== undefined) {
    headers['Content-Type'] = 'application/json';
    headers['Content-Length'] = Buffer.byteLength(text);
  }
  return new Promise((resolve, reject) => {
    const fail = (error) => reject(new Error(`${method} ${path}: ${error.message || error.code}`));
    const asked = send(hub.address + path, { ...hub.tls, method, headers, timeout: TIMEOUT_MS }, (answer) => {
      const parts = [];
      let size = 0;
      answer.on('data', (part) => {
        size += part.length;
        parts.push(part);
        if (size > ANSWER_BYTES_MAX) asked.destroy(new Error('the answer is too long'));
      });
      answer.on('error', fail);
      answer.on('end', () => {
        const said = parse(Buffer.concat(parts).toString('utf8'));
        if (answer.statusCode < 300) resolve(said);
        else reject(refusal(method, path, answer.statusCode, said));
      });
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
    asked.on('error', fail);
    asked.end(text);
  });
}

function refusal(method, path, status, said) {
  const why = said?.detail ?? said?.message ?? said?.title ?? `status ${status}`;
  return Object.assign(new Error(`${method} ${path.split('?')[0]}: ${why}`), { status, code: said?.code });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

module.exports = { readAddress, request };
