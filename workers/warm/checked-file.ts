/**
 * Small files that are replaced whole and carry a checksum: a reader finds the old content, the new one, or an error,
 * never a part of either.
 *
 *     tidemark-KIND-1 CHECKSUM        one line; the CRC-32 of the body, eight hex digits
 *     body
 */
import { readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';

const FORMAT_VERSION = 1;

function headOf(kind: string, body: Uint8Array): string {
  return `tidemark-${kind}-${FORMAT_VERSION} ${crc32(body).toString(16).padStart(8, '0')}\n`;
}

/**
 * Replaces the file; it is on the disk when this resolves.
 * @param kind  names what it holds, so that one file is not taken for another
 */
export async function writeChecked(path: string, kind: string, body: Uint8Array): Promise<void> {
  const draft = `${path}.new`;
  try {
    const file = await open(draft, 'w');
    try {
      await file.writeFile(Buffer.concat([Buffer.from(headOf(kind, body)), body]));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** The body; null if there is no such file. @throws Error that says what is wrong with it */
export function readChecked(path: string, kind: string): Buffer | null {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const end = bytes.indexOf('\n') + 1;
  const body = bytes.subarray(end);
  const head = bytes.subarray(0, end).toString('latin1');
  if (head === headOf(kind, body)) return body;
  if (!head.startsWith(`tidemark-${kind}-`)) throw new Error(`${path} is no ${kind} file of Tidemark`);
  if (!head.startsWith(`tidemark-${kind}-${FORMAT_VERSION} `)) {
    throw new Error(`${path} is of another version of Tidemark`);
  }
  throw new Error(`${path} is damaged: its checksum does not match`);
}

/** What was created, renamed or removed in the directory outlives a loss of power. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
