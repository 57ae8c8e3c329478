/** Debian's chromium, with a profile of its own, for one test file. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';

const EXECUTABLE = process.env.TIDEMARK_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
export const HAS_CHROMIUM = existsSync(EXECUTABLE);
/** A browser on a busy machine. */
export const PATIENCE_MS = 60_000;

export class Browser {
  /** What a page complained about, or asked of anyone but its server. */
  readonly complaints: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly directory: string,
  ) {}

  static async start(): Promise<Browser> {
    const directory = mkdtempSync(join(tmpdir(), 'tidemark-chromium-'));
    const context = await chromium.launchPersistentContext(directory, {
      executablePath: EXECUTABLE,
      headless: true,
      viewport: { width: 1500, height: 1000 },
      args: FLAGS,
      timeout: PATIENCE_MS,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    return new Browser(context, directory);
  }

  async open(url: string): Promise<Page> {
    const page = await this.context.newPage();
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() !== 'error') return;
      // The browser says so of every answer that is an error; those to the page's own calls are its business.
      if (!message.text().startsWith('Failed to load resource')) this.complaints.push(message.text());
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(new URL(url).origin)) this.complaints.push(`asks ${request.url()}`);
    });
    await page.goto(url);
    return page;
  }

  async stop(): Promise<void> {
    await this.context.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}
