/** Figures as people read them; the same in the terminal and in the console's page. */

/** 1234567 -> `1.23M` */
export function formatCount(value: number): string {
  if (value < 1000) return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
  for (const [unit, size] of [
    ['k', 1e3],
    ['M', 1e6],
    ['G', 1e9],
  ] as const) {
    if (value < size * 999.5) return `${(value / size).toPrecision(3)}${unit}`;
  }
  return `${(value / 1e12).toPrecision(3)}T`;
}

/** `840 us`, `12.3 ms`, `4.21 s`, `3 min` */
export function formatMs(ms: number | null): string {
  if (ms === null) return '-';
  if (ms === 0) return '0';
  if (ms < 1) return `${Math.round(ms * 1000)} us`;
  if (ms < 1000) return `${Number(ms.toPrecision(3))} ms`;
  if (ms < 120_000) return `${Number((ms / 1000).toPrecision(3))} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} days`;
}

/** 0.1234 -> `12.3%` */
export function formatPart(part: number | null): string {
  return part === null ? '-' : `${(part * 100).toFixed(part < 0.9995 && part > 0 ? 1 : 0)}%`;
}

/** 12345678 -> `11.8 MiB` */
export function formatBytes(bytes: number): string {
  if (bytes < 2 ** 10) return `${bytes} B`;
  for (const [unit, size] of [
    ['KiB', 2 ** 10],
    ['MiB', 2 ** 20],
  ] as const) {
    if (bytes < size * 1024) return `${(bytes / size).toPrecision(3)} ${unit}`;
  }
  return `${(bytes / 2 ** 30).toPrecision(3)} GiB`;
}
