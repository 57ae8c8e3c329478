/** The map of partitions: which shard runs each, and how full it is. One stop of the tab key; the arrows go from cell to cell. */
import { formatCount, formatMs, formatPart } from '../admin/format.js';
import type { AdminStatus, PartitionStatus } from '../admin/status-types.js';
import { bar, byId, element, swatch } from './dom.js';

/** Colours that are told apart; further shards share them, and differ by their number. */
const COLORS = 8;
/** Cells are smaller when there are more. */
const MANY = 64;

function ownerClass(shard: number | null): string {
  return shard === null ? '' : `owner-${(shard % COLORS) + 1}`;
}

function describe(one: PartitionStatus): string {
  const owner = one.shard === null ? 'no shard' : `shard ${one.shard}`;
  const saved =
    one.unsaved_users === 0
      ? 'all is saved'
      : `${formatCount(one.unsaved_users)} users unsaved, the oldest change ${formatMs(one.oldest_unsaved_ms)} ago`;
  return `Partition ${one.partition}, lane ${one.lane ?? '?'}, ${owner}: ${formatCount(one.records)} of ${formatCount(one.records_max)} records (${formatPart(one.records / Math.max(1, one.records_max))}), ${formatCount(one.users)} of ${formatCount(one.users_max)} users, ${saved}${one.reloading ? '; it was broken, and comes back from journal and store' : ''}`;
}

export class PartitionMap {
  readonly #place = byId('partitions');
  readonly #detail = byId('partition');
  #partitions: readonly PartitionStatus[] = [];
  #cells: HTMLElement[] = [];
  #selected = -1;

  constructor() {
    this.#place.addEventListener('keydown', (event) => this.#key(event));
    this.#place.addEventListener('click', (event) => this.#select(this.#indexOf(event.target)));
    this.#place.addEventListener('focusin', (event) => this.#select(this.#indexOf(event.target)));
  }

  show({ partitions, shards }: AdminStatus): void {
    this.#partitions = partitions;
    if (this.#cells.length !== partitions.length) {
      this.#cells = partitions.map((_, i) =>
        element('div', {
          class: 'cell',
          role: 'option',
          tabindex: i === 0 ? '0' : '-1',
          'aria-selected': 'false',
        }),
      );
      this.#place.replaceChildren(...this.#cells);
      this.#place.classList.toggle('many', partitions.length > MANY);
      this.#selected = -1;
    }
    partitions.forEach((one, i) => {
      const cell = this.#cells[i]!;
      const filled = one.records / Math.max(1, one.records_max);
      cell.className = `cell ${ownerClass(one.shard)}`;
      cell.setAttribute('aria-label', describe(one));
      cell.title = describe(one);
      cell.replaceChildren(
        String(one.partition),
        element('span', { class: 'mark' }, one.reloading ? '!' : one.shard === null ? '?' : `s${one.shard}`),
        bar(filled, {}),
      );
    });
    byId('owners').replaceChildren(
      ...shards.map(({ shard, lanes, partitions: owned }) =>
        element(
          'span',
          { class: ownerClass(shard), title: `lanes ${lanes.join(', ')}` },
          swatch(),
          `shard ${shard}: ${owned.length}`,
        ),
      ),
    );
    if (this.#selected >= 0) this.#detail.textContent = describe(partitions[this.#selected]!);
  }

  #indexOf(target: EventTarget | null): number {
    return this.#cells.findIndex((cell) => cell.contains(target as Node));
  }

  #select(index: number): void {
    if (index < 0 || index >= this.#cells.length) return;
    const before = this.#cells[Math.max(0, this.#selected)]!;
    before.setAttribute('aria-selected', 'false');
    before.tabIndex = -1;
    this.#selected = index;
    const cell = this.#cells[index]!;
    cell.setAttribute('aria-selected', 'true');
    cell.tabIndex = 0;
    this.#detail.textContent = describe(this.#partitions[index]!);
  }

  #key(event: KeyboardEvent): void {
    const columns = getComputedStyle(this.#place).gridTemplateColumns.split(' ').length;
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      Home: -this.#cells.length,
      End: this.#cells.length,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(this.#cells.length - 1, Math.max(0, this.#selected) + step));
    this.#select(next);
    this.#cells[next]!.focus();
  }
}
