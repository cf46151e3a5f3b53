//! With which unit and digits a value is shown: the block's own, or those of the metric.
import type { Read } from '../domain/dashboard';
import type { Look } from '../domain/shown';
import { metricOf } from '../metrics.svelte';

export function lookOf(block: Look & { read: Read }): Look {
  const metric = 'metric' in block.read ? metricOf(block.read.metric) : undefined;
  return {
    unit: block.unit || metric?.unit,
    decimals: block.decimals ?? metric?.decimals,
  };
}
