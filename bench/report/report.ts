import { writeFile } from 'node:fs/promises';
import type { SavedPart } from '../suite/saved.js';
export async function writeReport(saved: readonly SavedPart[], file: string): Promise<void> {
  await writeFile(file, JSON.stringify(saved));
}
