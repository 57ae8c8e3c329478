/**
 * Bounds the connections. uWebSockets (20.30) accepts whoever comes and tells nobody, and at the limit of open files
 * it would ask the kernel again and again; so the sockets are counted through the system, some times a second, and
 * while there are too many the listener is closed: who connects then is refused by the kernel. Connections that
 * bring no request in 10 s are closed by uWebSockets itself, so an idle flood is over soon. Between two looks more
 * may come; a part of the open files stays free for them.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

const LOOK_MS = 200;
const OPEN_FILES = '/proc/self/fd';
/** Since Linux 6.2 the directory's size is the number of open files; counting them costs 10 ms for 20,000. */
const SLOW_LOOK_MS = 1000;
/** Open files that are left for the store, the journal, and who comes between two looks. */
const FREE_FILES = 256;
/**
 * Files that are no connections and may come later: segments, the pipes and pollers of a new thread. What is above
 * the bound by no more than this is counted exactly before anybody is refused; a flood is far above it.
 */
const OTHER_FILES_MAX = 512;
/**
 * Listening goes on when so much of a bound is free, or a tenth of it if that is less. Not a part of a large one: WebSockets,
 * which stay for hours, count among the open files, and could alone keep the listener closed.
 */
const RESUME_FREE = 64;
/** And not before this, or a flood would have it closed and opened at each look. */
const PAUSE_MIN_MS = 1000;

/** How many files the process has open, or NaN where that cannot be told. */
function openFiles(): number {
  try {
    const { size } = statSync(OPEN_FILES);
    return size > 0 ? size : readdirSync(OPEN_FILES).length;
  } catch {
    return Number.NaN;
  }
}

/** How many of the open files are sockets, or NaN. Reads a link for each: 80 ms for 18,000 (2-core Intel Xeon, Node 20). */
function openSockets(): number {
  let sockets = 0;
  let files: string[];
  try {
    files = readdirSync(OPEN_FILES);
  } catch {
    return Number.NaN;
  }
  for (const file of files) {
    try {
      if (readlinkSync(`${OPEN_FILES}/${file}`).startsWith('socket:')) sockets++;
    } catch {
      // Closed between the two calls.
    }
  }
  return sockets;
}

/** Whether so many are few enough to listen again. */
function hasRoom(count: number, max: number): boolean {
  return count <= max - Math.min(RESUME_FREE, Math.ceil(max / 10));
}

function openFilesMax(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** What the system says of this process. */
const PROCESS = { openFiles, openSockets, openFilesMax };

export interface GuardedListener {
  /** Closes the listening socket, not the connections. */
  pause(): void;
  /** Listens again. @returns false when that failed: it is tried again */
  resume(): Promise<boolean>;
  /** Open WebSockets: they have a bound of their own. */
  webSockets(): number;
  warn(message: string): void;
}

export class ConnectionGuard {
  /** HTTP connections at the last look, as far as can be told. */
  connections = 0;
  /** Times that listening was stopped. */
  pauses = 0;
  readonly #listener: GuardedListener;
  readonly #process: typeof PROCESS;
  readonly #connectionsMax: number;
  readonly #filesMax: number;
  /** Open files that are no connections to this service, as of the last exact count. */
  #otherFiles: number;
  /** Sockets of the process itself: its output, its store, the listeners. */
  readonly #otherSockets: number;
  readonly #timer: NodeJS.Timeout;
  /** When listening was stopped; null while there is. */
  #pausedAtMs: number | null = null;
  #resuming = false;

  /** To be made when nobody is connected yet. @param connectionsMax  HTTP connections */
  constructor(listener: GuardedListener, connectionsMax: number, ofProcess = PROCESS) {
    this.#listener = listener;
    this.#process = ofProcess;
    this.#connectionsMax = connectionsMax;
    this.#otherFiles = ofProcess.openFiles();
    this.#otherSockets = ofProcess.openSockets();
    this.#filesMax = Math.max(this.#otherFiles + FREE_FILES, ofProcess.openFilesMax() - FREE_FILES);
    const lookMs = process.platform === 'linux' && statSizes() ? LOOK_MS : SLOW_LOOK_MS;
    this.#timer = setInterval(() => this.#look(), lookMs).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const files = this.#process.openFiles();
    if (Number.isNaN(files)) return;
    const webSockets = this.#listener.webSockets();
    let sockets = files - this.#otherFiles;
    const beyond = sockets - webSockets - this.#connectionsMax;
    if (this.#pausedAtMs === null && beyond > 0 && beyond <= OTHER_FILES_MAX) {
      const counted = this.#process.openSockets() - this.#otherSockets;
      if (counted < sockets) {
        this.#otherFiles = files - counted;
        sockets = counted;
      }
    }
    this.connections = Math.max(0, sockets - webSockets);
    if (this.#pausedAtMs !== null) {
      const isFree = hasRoom(this.connections, this.#connectionsMax) && hasRoom(files, this.#filesMax);
      if (isFree && performance.now() - this.#pausedAtMs >= PAUSE_MIN_MS) this.#resume();
    } else if (this.connections > this.#connectionsMax || files > this.#filesMax) {
      this.#pausedAtMs = performance.now();
      this.pauses++;
      this.#listener.pause();
      this.#listener.warn(
        `${sockets} open connections, ${webSockets} of them WebSockets: no more are taken until some have gone (--max-http-connections=${this.#connectionsMax}, ${files} open files of ${this.#filesMax})`,
      );
    }
  }

  #resume(): void {
    if (this.#resuming) return;
    this.#resuming = true;
    void this.#listener.resume().then((listening) => {
      this.#resuming = false;
      if (listening) this.#pausedAtMs = null;
    });
  }
}

/** Whether the size of the directory says how many files are open. */
function statSizes(): boolean {
  try {
    return statSync(OPEN_FILES).size > 0;
  } catch {
    return false;
  }
}
