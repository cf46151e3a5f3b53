//! A hub of two nodes behind a balancer, as it is operated: real PostgreSQL, NATS and HAProxy, started by the program
//! `several-nodes` of the end-to-end tests, which is beside the hub's own.
import path from 'node:path';
import { atEnd, BINARY, start } from './programs.mjs';

const PROGRAM = path.join(path.dirname(BINARY), 'several-nodes');

/** `http` and `mqtt` are the balancer's; `nodes.one` and `nodes.two` have their own. */
export async function startSeveral() {
  const program = start(PROGRAM, []);
  // It takes along what it has started.
  atEnd(program.close);
  const isReady = (line) => line.startsWith('{') && JSON.parse(line).ready === true;
  const ready = JSON.parse(await program.firstLine('stdout', isReady));
  const order = (deed) => async (name) => {
    const line = `${deed} ${name}`;
    const done = program.firstLine('stdout', (said) => said.startsWith('{') && JSON.parse(said).done === line);
    program.say(line);
    await done;
  };
  return {
    ...ready,
    /** Ends a node at once, as a machine that dies. */
    kill: order('kill'),
    /** The same node again, at its addresses. */
    start: order('start'),
    /** Has a node do nothing, as a machine that vanishes without a word. */
    freeze: order('freeze'),
    thaw: order('thaw'),
  };
}
