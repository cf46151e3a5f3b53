//! One door to the server: JSON in, JSON out, the CSRF header on everything that changes something, and
//! every failure turned into a Problem, which is what is thrown.
import { START, take, type StreamEvent } from '../domain/events';
import type { Readiness } from '../domain/node';
import { SILENCE_MAX_MS } from '../domain/resume';
import type { Problem } from './contract';

const BASE = '/api/v1';
/** Longer than any answer of the server should take, so that a dead link is seen as one. */
const TIMEOUT_MS = 30_000;
/** For so long after a link fell silent, connections that the browser has kept may lead to the machine that vanished. */
const DOUBT_MS = 60_000;
/** Then a question waits only so long before it is asked over another connection, as often as a browser keeps some. */
const DOUBTED_MS = 3_000;
const DOUBTED_TRIES = 6;

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
/** A list is a parameter that is given several times. */
export type Query = Record<string, string | number | boolean | string[] | undefined | null>;
type Options = {
  query?: Query;
  body?: unknown;
  text?: Blob;
  kind?: string;
  signal?: AbortSignal | undefined;
  /** The secret of a public link, in place of the session. */
  bearer?: string | undefined;
};

let csrf = '';
let doubtUntil = Number.NEGATIVE_INFINITY;
let onRefusal: (problem: Problem) => void = () => undefined;

export function setCsrf(token: string): void {
  csrf = token;
}

/** A link fell silent: its machine may have vanished, and other connections lead there too. */
export function doubtConnections(): void {
  doubtUntil = performance.now() + DOUBT_MS;
}

const isInDoubt = (): boolean => performance.now() < doubtUntil;

/**
 * Called with problems that concern the session itself: 401, a password that must be changed, set-up not
 * done.
 */
export function listenForRefusals(listener: (problem: Problem) => void): void {
  onRefusal = listener;
}

export function addressOf(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) for (const one of value) params.append(name, one);
    else if (value !== undefined && value !== null && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return `${BASE}${path}${text === '' ? '' : `?${text}`}`;
}

export function get<T>(path: string, query: Query = {}, signal?: AbortSignal, bearer?: string): Promise<T> {
  return send<T>('GET', path, { query, signal, bearer });
}

/** Whether the hub is ready, and what is wrong if it is not; asked without a login. */
export async function readiness(signal: AbortSignal): Promise<Readiness> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch('/readyz', { cache: 'no-store', signal: AbortSignal.any([signal, timeout]) });
  return (await response.json()) as Readiness;
}

/** A file as an address that holds all of it, so that nothing else is loaded for it. */
export async function getData(path: string, signal: AbortSignal): Promise<string> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const options = { credentials: 'same-origin', cache: 'no-store' } as const;
  let response: Response;
  try {
    response = await fetch(addressOf(path), { ...options, signal: AbortSignal.any([signal, timeout]) });
  } catch (error) {
    throw unreachable(error, signal);
  }
  if (!response.ok) throw await refused(response);
  const file = await response.blob();
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(unreachable(reader.error, signal));
    reader.readAsDataURL(file);
  });
}

export function post<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return send<T>('POST', path, { body, signal });
}

/** Sends a table as it is, as CSV. */
export function postText<T>(path: string, query: Query, text: Blob, kind = 'text/csv'): Promise<T> {
  return send<T>('POST', path, { query, text, kind });
}

/** Sends a form with a file, and tells how much of it is sent, in percent; it may take as long as it moves. */
export function postForm<T>(path: string, form: FormData, tell: (percent: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', addressOf(path));
    request.responseType = 'text';
    if (csrf !== '') request.setRequestHeader('x-csrf-token', csrf);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) tell(Math.floor((event.loaded / event.total) * 100));
    };
    request.onerror = () => reject(unreachable(null, undefined));
    request.onload = () => {
      const { status, responseText } = request;
      if (status < 300) resolve(JSON.parse(responseText) as T);
      else void refused(new Response(responseText, { status })).then(reject);
    };
    request.send(form);
  });
}

/**
 * Posts and tells every line of the answer as it comes; an answer may take as long as it has something to
 * tell.
 */
export async function postLines<T>(path: string, body: unknown, tell: (line: T) => void): Promise<void> {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  if (csrf !== '') headers['x-csrf-token'] = csrf;
  let response: Response;
  try {
    const sent = { method: 'POST', headers, body: JSON.stringify(body) };
    response = await fetch(addressOf(path), { ...sent, credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    throw unreachable(error, undefined);
  }
  if (!response.ok) throw await refused(response);
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw unreachable(error, undefined);
    });
    rest += value ?? '';
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') tell(JSON.parse(line) as T);
    if (done) return;
  }
}

export type Listening = {
  signal: AbortSignal;
  bearer?: string | undefined;
  /** The stream is there: what comes from now on is heard. */
  onopen: () => void;
  onevent: (event: StreamEvent) => void;
};

/** Listens to an event stream until it ends, or until nothing came for too long: the hub says at least a comment. */
export async function listen(path: string, { signal, bearer, onopen, onevent }: Listening): Promise<void> {
  const own = new AbortController();
  const headers: Record<string, string> = { accept: 'text/event-stream' };
  if (bearer !== undefined) headers.authorization = `Bearer ${bearer}`;
  const fallSilent = (): void => {
    doubtConnections();
    own.abort();
  };
  let timer = setTimeout(fallSilent, isInDoubt() ? DOUBTED_MS : SILENCE_MAX_MS);
  try {
    const response = await fetch(addressOf(path), {
      headers,
      credentials: bearer === undefined ? 'same-origin' : 'omit',
      cache: 'no-store',
      signal: AbortSignal.any([signal, own.signal]),
    });
    if (!response.ok) throw await refused(response);
    if (response.body === null) return;
    onopen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = START;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(fallSilent, SILENCE_MAX_MS);
      const taken = take(rest, value);
      rest = taken.rest;
      taken.events.forEach(onevent);
    }
  } catch (error) {
    throw isProblem(error) ? error : unreachable(error, signal);
  } finally {
    clearTimeout(timer);
    own.abort();
  }
}

export function patch<T>(path: string, body: unknown): Promise<T> {
  return send<T>('PATCH', path, { body });
}

export function put<T>(path: string, body?: unknown): Promise<T> {
  return send<T>('PUT', path, { body });
}

export function remove<T = void>(path: string): Promise<T> {
  return send<T>('DELETE', path, {});
}

async function send<T>(method: Method, path: string, options: Options): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (options.bearer !== undefined) headers.authorization = `Bearer ${options.bearer}`;
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  if (options.kind !== undefined) headers['content-type'] = options.kind;
  if (method !== 'GET' && csrf !== '') headers['x-csrf-token'] = csrf;
  const request: RequestInit = {
    method,
    headers,
    credentials: options.bearer === undefined ? 'same-origin' : 'omit',
    cache: 'no-store',
    body: options.text ?? (options.body === undefined ? null : JSON.stringify(options.body)),
  };
  let response: Response;
  try {
    response = await fetchPatiently(addressOf(path, options.query), request, options.signal);
  } catch (error) {
    throw unreachable(error, options.signal);
  }
  if (!response.ok) throw await refused(response);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

async function fetchPatiently(
  address: string,
  request: RequestInit,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const within = (milliseconds: number): Promise<Response> => {
    const timeout = AbortSignal.timeout(milliseconds);
    return fetch(address, { ...request, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  };
  for (let tried = 0; request.method === 'GET' && tried < DOUBTED_TRIES && isInDoubt(); tried += 1) {
    try {
      return await within(DOUBTED_MS);
    } catch (error) {
      if (signal?.aborted || !isTimeout(error)) throw error;
    }
  }
  return within(TIMEOUT_MS);
}

const isTimeout = (error: unknown): boolean => error instanceof DOMException && error.name === 'TimeoutError';

function unreachable(error: unknown, signal: AbortSignal | undefined): Problem {
  if (signal?.aborted) return { title: 'Aborted', status: 0, code: 'aborted', detail: '' };
  const detail = isTimeout(error)
    ? 'The hub did not answer in time.'
    : 'The hub cannot be reached from this browser.';
  return { title: 'No connection', status: 0, code: 'unreachable', detail };
}

async function refused(response: Response): Promise<Problem> {
  const body: unknown = await response.json().catch(() => undefined);
  const known = typeof body === 'object' && body !== null ? (body as Partial<Problem>) : {};
  const problem: Problem = {
    title: known.title ?? response.statusText,
    status: response.status,
    code: known.code ?? `http_${response.status}`,
    detail: known.detail ?? `The hub answered ${response.status} ${response.statusText}.`,
  };
  if (known.field !== undefined) problem.field = known.field;
  if (known.line !== undefined) problem.line = known.line;
  if (known.position !== undefined) problem.position = known.position;
  const retryAfter = Number(response.headers.get('retry-after'));
  if (retryAfter > 0) problem.retry_after = retryAfter;
  if (['unauthenticated', 'password_change_required', 'setup_required'].includes(problem.code))
    onRefusal(problem);
  return problem;
}

/** Whatever was thrown, as a Problem that can be shown. */
export function asProblem(error: unknown): Problem {
  if (isProblem(error)) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return { title: 'Unexpected', status: 0, code: 'unexpected', detail };
}

function isProblem(error: unknown): error is Problem {
  return typeof error === 'object' && error !== null && 'code' in error && 'detail' in error;
}
