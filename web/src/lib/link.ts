//! One WebSocket to the hub. The hub says something every few seconds: a link that is silent for longer is given up,
//! since a machine that dies, or a cable that is pulled, closes nothing.
import { doubtConnections } from './api/client';
import { SILENCE_MAX_MS } from './domain/resume';

export type Link = {
  /** Says something, if the link is open. */
  say: (text: string) => void;
  /** Ends it; nothing is heard of it any more. */
  close: () => void;
};

type Heard = {
  onopen?: () => void;
  ontext: (text: string) => void;
  /** It is over, or never came about. Called once, and not after `close`. */
  onlost: () => void;
};

export function openLink(path: string, { onopen, ontext, onlost }: Heard): Link {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const socket = new WebSocket(`${scheme}://${location.host}${path}`);
  let isOver = false;
  let timer = setTimeout(fallSilent, SILENCE_MAX_MS);

  function end(): void {
    isOver = true;
    clearTimeout(timer);
    socket.close();
  }

  function lose(): void {
    if (isOver) return;
    end();
    onlost();
  }

  function fallSilent(): void {
    doubtConnections();
    lose();
  }

  function alive(): void {
    clearTimeout(timer);
    timer = setTimeout(fallSilent, SILENCE_MAX_MS);
  }

  socket.onopen = () => {
    if (isOver) return;
    alive();
    onopen?.();
  };
  socket.onmessage = (event) => {
    if (isOver) return;
    alive();
    if (typeof event.data === 'string') ontext(event.data);
  };
  socket.onclose = lose;
  return {
    say: (text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
    },
    close: end,
  };
}
