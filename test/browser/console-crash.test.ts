/** The console in a real browser while threads of the service end under load: what it shows is what `/admin/status` says. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { OperatedService } from '../../bench/operate/operated-service.js';
import { formatCount } from '../../gateway/admin/format.js';
import type { AdminStatus } from '../../gateway/admin/status-types.js';
import { Browser, HAS_CHROMIUM, PATIENCE_MS } from './chromium.js';
import { Load } from './load.js';

const TEST_MS = 180_000;

describe.skipIf(!HAS_CHROMIUM)('the console, when a thread of a shard ends', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-console-crash-'));
  let service: OperatedService;
  let browser: Browser;
  let page: Page;
  let load: Load;
  beforeAll(async () => {
    const args = ['--store', `lmdb:${directory}/store`, '--data', directory, '--flush-delay', '1h'];
    const sizes = ['--shards', '2', '--partitions', '8', '--capacity', '20k'];
    [service, browser] = await Promise.all([OperatedService.start([...args, ...sizes]), Browser.start()]);
    load = new Load(service.url);
    page = await browser.open(new URL('/console', service.url).href);
    await page.locator('#state', { hasText: 'serving' }).waitFor();
  }, TEST_MS);
  afterAll(async () => {
    await load.stop();
    await browser.stop();
    await service.end();
    rmSync(directory, { recursive: true });
  }, TEST_MS);

  const status = async (): Promise<AdminStatus> => (await service.status()) as unknown as AdminStatus;
  const facts = async (): Promise<string> => (await page.locator('#facts').textContent())!;

  it(
    'says how often that was, shows the map of those who went on, and goes on itself',
    async () => {
      expect(await facts()).toContain('0 of shards');
      const before = await status();
      for (const [index, shard] of [0, 1, 0].entries()) {
        const { replacedUs } = await service.kill(shard);
        await replacedUs;
        await expect.poll(facts, { timeout: PATIENCE_MS }).toContain(`${index + 1} of shards`);
      }
      await load.stop(); // throws if a request was not answered

      const after = await status();
      expect(after.totals.shards_replaced).toBe(3);
      expect(after.state).toBe('serving');
      const attached = ({ lanes }: AdminStatus): number =>
        lanes.reduce((sum, lane) => sum + lane.attached, 0);
      expect(attached(after)).toBeGreaterThanOrEqual(attached(before) + 3);
      expect(after.partitions.every(({ shard }) => shard !== null)).toBe(true);
      await expect
        .poll(async () => (await page.locator('html').getAttribute('data-time'))! > after.time, {
          timeout: PATIENCE_MS,
        })
        .toBe(true);
      expect(await page.locator('#state').textContent()).toBe('serving');
      expect(await page.locator('.cell .mark').allTextContents()).toEqual(
        after.partitions.map(({ shard }) => `s${shard}`),
      );
      // What is shown and what is said are samples of two moments, and records may still come and go.
      await vi.waitFor(
        async () => {
          const { totals, shards } = await status();
          expect({
            records: await page.locator('[data-tile=records] .value').textContent(),
            shards: await page.locator('#shards tbody tr > :nth-child(7)').allTextContents(),
          }).toEqual({
            records: formatCount(totals.records),
            shards: shards.map(({ records }) => formatCount(records)),
          });
        },
        { timeout: PATIENCE_MS, interval: 100 },
      );
      const threads = await page.locator('#threads tbody tr > :nth-child(1)').allTextContents();
      expect(threads).toEqual(after.threads.map(({ thread }) => thread));
      expect(browser.complaints).toEqual([]);
    },
    TEST_MS,
  );
});
