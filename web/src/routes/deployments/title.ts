//! What a deployment is called: the script or firmware it brings, or what it undoes.
import type { Deployment } from '../../lib/api/contract';
import { broughtText } from '../../lib/domain/artifact';

type Named = Pick<Deployment, 'script_name' | 'version' | 'firmware' | 'cause'>;

export function titleOf(deployment: Named): string {
  const name = broughtText(deployment);
  if (name !== null) {
    if (deployment.cause === 'rollback') return `Roll back to ${name}`;
    return deployment.cause === 'recovery' ? `Recovery to ${name}` : name;
  }
  return deployment.cause === 'rollback'
    ? 'Roll back to what ran before'
    : 'Recovery of the last good script';
}
