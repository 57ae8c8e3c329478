/** The version of the package, as `--version` and `/admin/status` say it. */
import { readFileSync } from 'node:fs';

export function packageVersion(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
