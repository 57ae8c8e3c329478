/**
 * Holds the direction of imports: gateway -> workers -> engine, and none back. RULES is the whole of it.
 * `import type` counts too: a type is knowledge of the other side.
 */
import { posix } from 'node:path';
import { isMain, type RepositoryFile, ROOT, readRepository, report } from './repository.js';
import { type Import, readSource } from './source-text.js';

interface Rule {
  /** Folders whose modules may be imported, beside the importer's own. */
  folders: string[];
  /** Folders that only an import() may reach, so that the server starts without them. */
  lazyFolders: string[];
  /** `none`: pure; `dependencies`: Node and what is installed for users; `all`: devDependencies too. */
  packages: 'none' | 'dependencies' | 'all';
}

const RULES: Record<string, Rule> = {
  engine: { folders: [], lazyFolders: [], packages: 'none' },
  workers: { folders: ['engine'], lazyFolders: [], packages: 'dependencies' },
  gateway: { folders: ['engine', 'workers'], lazyFolders: ['bench', 'scripts'], packages: 'dependencies' },
  bench: {
    folders: ['engine', 'workers', 'gateway/client', 'scripts/cassandra'],
    lazyFolders: ['gateway'], // a service in a process of its own, with a hand on its threads
    packages: 'all',
  },
  scripts: { folders: ['engine', 'workers', 'gateway'], lazyFolders: ['bench'], packages: 'all' },
  test: {
    folders: ['engine', 'workers', 'gateway', 'bench', 'scripts'],
    lazyFolders: [],
    packages: 'all',
  },
};

/** What of package.json decides which packages a user of Tidemark has. */
export interface Manifest {
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** @returns one message for each import that breaks a rule: file, line, import, rule. */
export function checkDependencies(files: RepositoryFile[], manifest: Manifest): string[] {
  const installed = new Set(
    Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies }),
  );
  const problems: string[] = [];
  for (const file of files) {
    const folder = file.path.split('/')[0]!;
    const rule = RULES[folder];
    if (rule === undefined || !file.path.endsWith('.ts')) continue;
    for (const found of readSource(file.text).imports) {
      const broken = found.specifier.startsWith('.')
        ? brokenByFile(file.path, folder, rule, found)
        : brokenByPackage(folder, rule, found, installed);
      if (broken !== undefined)
        problems.push(`${file.path}:${found.line} imports '${found.specifier}': ${broken}`);
    }
  }
  return problems;
}

function brokenByFile(path: string, folder: string, rule: Rule, found: Import): string | undefined {
  // Data beside dist/ (package.json, a page) is no module; its place is counted from dist/, not from here.
  if (found.kind === 'url' && !found.specifier.endsWith('.js')) return undefined;
  const target = posix.join(posix.dirname(path), found.specifier);
  const within = (allowed: string): boolean => target.startsWith(`${allowed}/`);
  if (within(folder) || rule.folders.some(within)) return undefined;
  if (rule.lazyFolders.some(within)) {
    return found.kind === 'static'
      ? `${folder}/ may load ${target.split('/')[0]}/ only lazily, with import()`
      : undefined;
  }
  const allowed = [folder, ...rule.folders].map((name) => `${name}/`).join(', ');
  return `${folder}/ may import only from ${allowed}`;
}

function brokenByPackage(
  folder: string,
  rule: Rule,
  found: Import,
  installed: ReadonlySet<string>,
): string | undefined {
  if (found.kind === 'url' || rule.packages === 'all') return undefined;
  if (rule.packages === 'none') return `${folder}/ is pure: it may import only its own files`;
  if (found.specifier.startsWith('node:')) return undefined;
  const name = found.specifier
    .split('/')
    .slice(0, found.specifier.startsWith('@') ? 2 : 1)
    .join('/');
  return installed.has(name)
    ? undefined
    : `${folder}/ runs at the user's, and ${name} is not in "dependencies" of package.json`;
}

if (isMain(import.meta.url)) {
  const files = readRepository(ROOT);
  const manifest = files.find(({ path }) => path === 'package.json')!;
  report('check-dependencies', checkDependencies(files, JSON.parse(manifest.text) as Manifest), files.length);
}
