/** What a part leaves behind, and the report reads. */
import type { PartContext, PartName, PartResult } from './part.js';

export interface SavedPart {
  readonly name: PartName;
  readonly title: string;
  readonly date: string;
  readonly commit: string;
  /** The sources differed from the commit. */
  readonly modified: boolean;
  readonly machine: Record<string, unknown>;
  readonly options: Omit<PartContext, 'log'>;
  readonly seconds: number;
  readonly result?: PartResult;
  readonly failure?: string;
}
