/**
 * The console: asks `/admin/status` and `/admin/history` once a second and shows them. It is a page of the server's
 * own, loads nothing from elsewhere, and can do only what its token allows.
 */
import { formatCount, formatMs } from '../admin/format.js';
import type { AdminStatus } from '../admin/status-types.js';
import {
  flushNow,
  hasToken,
  readHistory,
  readStatus,
  reload,
  resize,
  setToken,
  TokenNeeded,
} from './admin-api.js';
import { Charts } from './charts.js';
import { byId } from './dom.js';
import { showFigures } from './figures.js';
import { PartitionMap } from './partition-map.js';

const INTERVAL_MS = 1000;
const NOTICE_MS = 6000;

const charts = new Charts();
const map = new PartitionMap();
const state = byId('state');
const notice = byId('notice');
const flushButton = byId<HTMLButtonElement>('flush');
const flushDialog = byId<HTMLDialogElement>('flush-dialog');
const resizeButton = byId<HTMLButtonElement>('resize');
const resizeDialog = byId<HTMLDialogElement>('resize-dialog');
const resizeInput = byId<HTMLInputElement>('resize-shards');
const reloadButton = byId<HTMLButtonElement>('reload');
const reloadDialog = byId<HTMLDialogElement>('reload-dialog');
const orderButtons = [flushButton, resizeButton, reloadButton];
const tokenDialog = byId<HTMLDialogElement>('token-dialog');
const tokenInput = byId<HTMLInputElement>('token');
let latest: AdminStatus | null = null;
let noticeTimer = 0;

function showState(text: string, kind: 'good' | 'bad' | ''): void {
  if (state.textContent === text) return; // it is read aloud when it changes
  state.textContent = text;
  state.className = `badge ${kind}`;
}

function say(text: string): void {
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    notice.hidden = true;
  }, NOTICE_MS);
}

async function look(): Promise<void> {
  try {
    const [status, history] = await Promise.all([readStatus(), readHistory(charts.lastMs)]);
    if (latest !== null && latest.pid !== status.pid) charts.clear();
    latest = status;
    charts.add(history);
    map.show(status);
    showFigures(status);
    for (const button of orderButtons) button.disabled = status.state !== 'serving';
    document.documentElement.dataset.time = status.time; // what is shown is of this moment
    showState(status.state, status.state === 'serving' ? 'good' : 'bad');
  } catch (error) {
    for (const button of orderButtons) button.disabled = true;
    if (error instanceof TokenNeeded) {
      showState('needs a token', 'bad');
      await askForToken();
      return;
    }
    showState('no answer', 'bad');
  }
}

/** Resolves when one was entered. */
function askForToken(): Promise<void> {
  if (hasToken()) byId('token-text').textContent = 'The server does not know this token. Enter another one.';
  tokenInput.value = '';
  tokenDialog.showModal();
  return new Promise((resolve) => {
    tokenDialog.addEventListener(
      'close',
      () => {
        if (tokenInput.value !== '') setToken(tokenInput.value.trim());
        resolve();
      },
      { once: true },
    );
  });
}

flushButton.addEventListener('click', () => {
  const users = latest?.totals.unsaved_users ?? 0;
  byId('flush-text').textContent =
    users === 0
      ? 'Nothing is unsaved at this moment. What changes until the order arrives is written to the store.'
      : `The changes of ${formatCount(users)} users are written to the store at once instead of when they are due. The store is busy meanwhile.`;
  flushDialog.returnValue = '';
  flushDialog.showModal();
});

flushDialog.addEventListener('close', () => {
  if (flushDialog.returnValue !== 'flush') return;
  flushNow().then(
    ({ unsaved_users }) =>
      say(`Ordered: the changes of ${formatCount(unsaved_users)} users are being written.`),
    (error: Error) => say(`Nothing was ordered: ${error.message}`),
  );
});

resizeButton.addEventListener('click', () => {
  if (latest === null) return;
  const { shards, lanes } = latest.settings;
  byId('resize-text').textContent =
    `${shards} of at most ${lanes} threads run the ${lanes} lanes now. Lanes go over one after another while they serve; nothing is copied, and no request is lost. A number holds until another is ordered, or Auto: one for each processor less one, also when that changes.`;
  resizeInput.max = String(lanes);
  resizeInput.value = String(shards);
  resizeDialog.returnValue = '';
  resizeDialog.showModal();
});

resizeDialog.addEventListener('close', () => {
  const order = resizeDialog.returnValue;
  if (order !== 'resize' && order !== 'auto') return;
  resize(order === 'auto' ? order : resizeInput.valueAsNumber).then(
    ({ shards, took_ms }) => say(`${shards} shards now, after ${formatMs(took_ms)}.`),
    (error: Error) => say(`Nothing was changed: ${error.message}`),
  );
});

reloadButton.addEventListener('click', () => {
  reloadDialog.returnValue = '';
  reloadDialog.showModal();
});

reloadDialog.addEventListener('close', () => {
  if (reloadDialog.returnValue !== 'reload') return;
  reload().then(
    ({ shards, took_ms }) => say(`${shards} new threads run all lanes, after ${formatMs(took_ms)}.`),
    (error: Error) => say(`Nothing was changed: ${error.message}`),
  );
});

for (const input of document.querySelectorAll<HTMLInputElement>('input[name=range]'))
  input.addEventListener('change', () => {
    charts.rangeS = Number(input.value);
  });

async function run(): Promise<void> {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}

void run();
