//! What a deployment is called: the script it brings, or what it undoes.
import type { Deployment } from '../../lib/api/contract';

type Named = Pick<Deployment, 'script_name' | 'version' | 'cause'>;

export function titleOf(deployment: Named): string {
  if (deployment.script_name !== null) {
    const name = `${deployment.script_name} v${deployment.version ?? '?'}`;
    if (deployment.cause === 'rollback') return `Roll back to ${name}`;
    return deployment.cause === 'recovery' ? `Recovery to ${name}` : name;
  }
  return deployment.cause === 'rollback'
    ? 'Roll back to what ran before'
    : 'Recovery of the last good script';
}
