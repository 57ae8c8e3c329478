/** The console in a real browser, on a service under load: what it shows is what `/admin/status` says. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { killChild, type Service, startService } from '../../bench/service-child.js';
import { formatCount } from '../../gateway/admin/format.js';
import type { AdminStatus } from '../../gateway/admin/status-types.js';
import { Browser, HAS_CHROMIUM, PATIENCE_MS } from './chromium.js';
import { Load, USERS } from './load.js';
import { COLORS_DRAWN, CONTRAST_RATIOS } from './page-probes.js';

const TOKEN = 'the-token-of-the-operators';
const TEST_MS = 180_000;

const directory = mkdtempSync(join(tmpdir(), 'tidemark-console-'));
const SERVICE = ['--store', 'memory:', '--shards', '2', '--partitions', '8', '--capacity', '20k'];

async function statusOf(url: URL, token?: string): Promise<AdminStatus> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return (await (await fetch(new URL('/admin/status', url), { headers })).json()) as AdminStatus;
}

/** Waits until the page shows a moment after now. */
async function shownAfter(page: Page, time: string): Promise<void> {
  const shown = async (): Promise<boolean> =>
    ((await page.locator('html').getAttribute('data-time')) ?? '') > time;
  await expect.poll(shown, { timeout: PATIENCE_MS }).toBe(true);
}

async function tile(page: Page, id: string): Promise<string> {
  return (await page.locator(`[data-tile=${id}] .value`).textContent())!;
}

/** `1.23k` -> 1230 */
function parseCount(text: string): number {
  const units: Record<string, number> = { k: 1e3, M: 1e6, G: 1e9 };
  return Number.parseFloat(text) * (units[text.at(-1)!] ?? 1);
}

describe.skipIf(!HAS_CHROMIUM)('the console', () => {
  let service: Service;
  let browser: Browser;
  let page: Page;
  let load: Load;
  beforeAll(async () => {
    const data = ['--data', join(directory, 'open'), '--flush-delay', '1h'];
    [service, browser] = await Promise.all([startService([...SERVICE, ...data]), Browser.start()]);
    load = new Load(service.url);
    page = await browser.open(new URL('/console', service.url).href);
  }, TEST_MS);
  afterAll(async () => {
    await load.stop();
    await browser.stop();
    await killChild(service.child);
    rmSync(directory, { recursive: true });
  }, TEST_MS);

  it(
    'shows a service under load as it is',
    async () => {
      await page.locator('#state', { hasText: 'serving' }).waitFor();
      await page.waitForTimeout(4000);
      const { time, totals } = await statusOf(service.url);
      await shownAfter(page, time);
      const rate = parseCount(await tile(page, 'operations'));
      expect(rate).toBeGreaterThan(totals.operations_per_s / 3);
      expect(rate).toBeLessThan(totals.operations_per_s * 3);
      expect(await page.locator('.chart canvas').count()).toBe(9);
      // Every line of the charts has a value, but those that wait for something to happen.
      const values = await page.locator('.chart output').allTextContents();
      expect(values.filter((value) => value === '-').length).toBeLessThanOrEqual(1);
      expect(parseCount(values[0]!)).toBeGreaterThan(0);
      const drawn = await page.evaluate<number>(COLORS_DRAWN);
      expect(drawn).toBeGreaterThan(10);
    },
    TEST_MS,
  );

  it(
    'agrees with /admin/status, figure by figure, when nothing moves',
    async () => {
      await load.stop();
      const status = await statusOf(service.url);
      await shownAfter(page, new Date(Date.parse(status.time) + 1000).toISOString());
      expect(await tile(page, 'records')).toBe(formatCount(status.totals.records));
      expect(status.totals.unsaved_users).toBeGreaterThan(USERS / 2);
      expect(await tile(page, 'unsaved')).toBe(formatCount(status.totals.unsaved_users));
      expect(await page.locator('[data-tile=operations] .note').textContent()).toContain(
        formatCount(status.totals.operations),
      );
      expect(await page.locator('.cell .mark').allTextContents()).toEqual(
        status.partitions.map(({ shard }) => `s${shard}`),
      );
      const column = (table: string, n: number): Promise<string[]> =>
        page.locator(`#${table} tbody tr > :nth-child(${n})`).allTextContents();
      expect(await column('shards', 5)).toEqual(status.shards.map((one) => String(one.partitions.length)));
      expect(await column('shards', 7)).toEqual(status.shards.map((one) => formatCount(one.records)));
      expect(await column('threads', 1)).toEqual(status.threads.map(({ thread }) => thread));
      expect(await column('latencies', 1)).toEqual(status.latencies!.map(({ operation }) => operation));
      for (const fact of [String(status.pid), status.version, status.settings.store])
        expect(await page.locator('#facts').textContent()).toContain(fact);
    },
    TEST_MS,
  );

  it(
    'is worked by keyboard alone: the map, a chart, and flush now with its question',
    async () => {
      const { partitions, totals } = await statusOf(service.url);
      await page.locator('.cell').first().focus();
      await page.keyboard.press('ArrowRight');
      await page.keyboard.press('ArrowRight');
      const detail = await page.locator('#partition').textContent();
      expect(detail).toContain(
        `Partition 2, lane ${partitions[2]!.lane}, shard ${partitions[2]!.shard}: ${formatCount(partitions[2]!.records)} of`,
      );
      expect(await page.locator('.cell[aria-selected=true]').count()).toBe(1);

      const operations = page.locator('.chart').first();
      await operations.focus();
      const latest = await operations.locator('output').first().textContent();
      for (let i = 0; i < 60; i++) await page.keyboard.press('ArrowLeft');
      await expect.poll(() => operations.locator('output').first().textContent()).not.toBe('-');
      expect(latest).not.toBe('-');

      const flush = page.locator('#flush');
      await flush.focus();
      await page.keyboard.press('Enter');
      await page.locator('#flush-dialog[open]').waitFor();
      expect(await page.locator('#flush-text').textContent()).toContain(formatCount(totals.unsaved_users));
      await page.keyboard.press('Escape');
      await page.waitForTimeout(1500);
      expect((await statusOf(service.url)).totals.unsaved_users).toBe(totals.unsaved_users);

      await flush.focus();
      await page.keyboard.press('Enter');
      await page.keyboard.press('Tab');
      expect(await page.evaluate<string>('document.activeElement.textContent')).toBe('Flush');
      await page.keyboard.press('Enter');
      await page.locator('#notice', { hasText: 'Ordered' }).waitFor();
      await page.locator('[data-tile=unsaved] .value', { hasText: /^0$/ }).waitFor();
      expect((await statusOf(service.url)).totals.unsaved_users).toBe(0);
    },
    TEST_MS,
  );

  it(
    'changes the number of shards and has new threads go on, each after its question',
    async () => {
      const marks = () => page.locator('.cell .mark').allTextContents();
      expect(new Set(await marks()).size).toBe(2);
      await page.locator('#resize').click();
      await page.locator('#resize-dialog[open]').waitFor();
      await page.locator('#resize-shards').fill('4');
      await page.locator('#resize-dialog [value=resize]').click();
      await page.locator('#notice', { hasText: '4 shards now' }).waitFor();
      await expect.poll(async () => new Set(await marks()).size, { timeout: PATIENCE_MS }).toBe(4);
      const { partitions, shards } = await statusOf(service.url);
      expect(await marks()).toEqual(partitions.map(({ shard }) => `s${shard}`));
      expect(await page.locator('#shards tbody tr').count()).toBe(shards.length);

      await page.locator('#reload').click();
      await page.locator('#reload-dialog[open]').waitFor();
      await page.locator('#reload-dialog [value=reload]').click();
      await page.locator('#notice', { hasText: '4 new threads run all lanes' }).waitFor();
      const { time, totals } = await statusOf(service.url);
      await shownAfter(page, time);
      expect(await tile(page, 'records')).toBe(formatCount(totals.records));
      expect(await page.locator('#facts').textContent()).toContain('4 (fixed)');

      await page.locator('#resize').click();
      await page.locator('#resize-dialog [value=auto]').click();
      await page.locator('#notice', { hasText: /shards? now/ }).waitFor();
      await page.locator('#facts', { hasText: '(auto)' }).waitFor();
      expect((await statusOf(service.url)).settings.shards_automatic).toBe(true);
    },
    TEST_MS,
  );

  it(
    'can be read in light and dark',
    async () => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await page.waitForTimeout(1000); // a button fades from colour to colour
        const ratios = await page.evaluate<number[]>(CONTRAST_RATIOS);
        expect(ratios.length).toBeGreaterThan(50);
        expect(Math.min(...ratios), colorScheme).toBeGreaterThanOrEqual(4.5);
      }
    },
    TEST_MS,
  );

  it(
    'asks nobody but its server, and complains about nothing',
    () => {
      expect(browser.complaints).toEqual([]);
    },
    TEST_MS,
  );

  it(
    'asks for the admin token where there is one, and keeps it for the tab',
    async () => {
      const adminTokenFile = join(directory, 'token');
      writeFileSync(adminTokenFile, `${TOKEN}\n`);
      const args = ['--data', join(directory, 'closed'), '--admin-token-file', adminTokenFile];
      const closed = await startService([...SERVICE, ...args]);
      try {
        const url = new URL('/console', closed.url).href;
        const refused = await fetch(url);
        expect(refused.status).toBe(401);
        expect(await refused.text()).not.toContain(String((await statusOf(closed.url, TOKEN)).pid));
        const guest = await browser.open(url);
        const enter = async (token: string): Promise<void> => {
          await guest.locator('#token-dialog[open]').waitFor();
          await guest.locator('#token').fill(token);
          await guest.keyboard.press('Enter');
        };
        await enter('a-token-that-is-wrong');
        await guest.locator('#token-text', { hasText: 'does not know' }).waitFor();
        expect(await guest.locator('#tiles li').count()).toBe(0);
        await enter(TOKEN);
        await guest.locator('#state', { hasText: 'serving' }).waitFor();
        expect(await guest.locator('.cell').count()).toBe(8);
        await guest.reload();
        await guest.locator('#state', { hasText: 'serving' }).waitFor();
        await guest.close();
      } finally {
        await killChild(closed.child);
      }
    },
    TEST_MS,
  );
});
