//! What was drawn, as the document of a flow.
'use strict';

const { createHash } = require('node:crypto');

/** Nodes that take nothing from other steps, and those that give nothing to them. */
const SOURCES = ['motehub-source', 'motehub-failure', 'motehub-in'];
const SINKS = ['motehub-sink', 'motehub-failure', 'motehub-out'];

/** The id of the step that a node is: its letters, digits and underscores. */
const stepId = (nodeId) => nodeId.replace(/[^A-Za-z0-9_]/g, '').slice(0, 32);

/** The topic between a flow and Node-RED. */
const topicOf = (node) => (node.topic ?? '').trim() || `node-red/${node.id}`;

const words = (text) => (text ?? '').split(/[\s,]+/).filter((word) => word !== '');

/**
 * `flow` has name, boards and takeOver; `nodes` are the settings of the nodes that belong to it. Returns the
 * document and the ids of the nodes that have a wire to something that is no step of the flow.
 */
function documentOf(flow, nodes) {
  const ordered = [...nodes].sort((one, other) => (one.id < other.id ? -1 : 1));
  const known = new Map(ordered.map((node) => [node.id, node]));
  const astray = [];
  const wires = [];
  for (const node of ordered.filter((node) => !SINKS.includes(node.type))) {
    for (const target of new Set((node.wires ?? []).flat())) {
      const to = known.get(target);
      if (to === undefined || SOURCES.includes(to.type)) astray.push(node.id);
      else wires.push({ from: stepId(node.id), to: stepId(target) });
    }
  }
  const document = { name: flow.name, steps: ordered.map(stepOf), wires };
  if ((flow.boards ?? '').trim() !== '') document.boards = flow.boards.trim();
  if (flow.takeOver === true) document.take_over = true;
  return { document, astray: [...new Set(astray)] };
}

function stepOf(node) {
  const step = { id: stepId(node.id), ...settingsOf(node) };
  if ((node.name ?? '').trim() !== '') step.name = node.name.trim();
  const lists = { requires: words(node.requires), prefers: words(node.prefers) };
  for (const [name, list] of Object.entries(lists)) if (list.length > 0) step[name] = list;
  if ((node.runsOn ?? '').trim() !== '') step.runs_on = node.runsOn.trim();
  return { ...step, x: Math.round(node.x ?? 0), y: Math.round(node.y ?? 0) };
}

function settingsOf(node) {
  switch (node.type) {
    case 'motehub-in':
      return { kind: 'topic', topic: topicOf(node) };
    case 'motehub-out':
      return { kind: 'publish', topic: topicOf(node) };
    case 'motehub-failure':
      return { kind: 'failure', tags: words(node.tags) };
    default:
      return { ...node.settings, kind: node.kind };
  }
}

/** What tells two drawings apart. Where steps are drawn does not matter. */
function digestOf(document) {
  const steps = document.steps.map(({ x: _x, y: _y, ...step }) => step);
  return createHash('sha256')
    .update(JSON.stringify({ ...document, steps }))
    .digest('hex')
    .slice(0, 16);
}

module.exports = { digestOf, documentOf, stepId, topicOf };
