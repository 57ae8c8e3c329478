/** The calls to the system of a shard's end of the journal. All are synchronous. */
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';

/** An interface, so that a test can let them fail. */
export interface WriterFiles {
  open(path: string): number;
  /** @returns bytes written */
  write(fd: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
  sync(fd: number): void;
  rename(from: string, to: string): void;
  syncDirectory(path: string): void;
  close(fd: number): void;
}

export const NODE_FILES: WriterFiles = {
  open: (path) => openSync(path, 'r+'),
  write: writeSync,
  sync: fdatasyncSync,
  rename: renameSync,
  syncDirectory(path) {
    const fd = openSync(path, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  close: closeSync,
};
