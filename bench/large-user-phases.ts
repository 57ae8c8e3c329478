/** What bench-large-user and its child agree about. */

export const PHASES = ['list', 'reload', 'write', 'delete'] as const;
export type Phase = (typeof PHASES)[number];
/** Of one phase. */
export interface Done {
  /** How long the work took, each time, ms. */
  readonly times: number[];
}

/** Of the large user. */
export const ENTRIES = 100_000;
