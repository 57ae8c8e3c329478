/**
 * Runs simulated threads (generators) in every order in which their steps can come.
 *
 * A thread yields where another may go on: null = at any time, a condition = when it holds. The search is depth
 * first and runs the scenario anew for each order, so that a scenario may be ordinary code with a state of its own.
 */

/** When the thread can go on: null = at once. */
export type Park = (() => boolean) | null;
export type Thread<T = void> = Generator<Park, T, undefined>;

export interface Scenario {
  threads: Thread[];
  /** After all threads have ended: throws if what came of it is wrong. */
  finish(): void;
}

export interface Search {
  /** Times that a thread which could go on is interrupted; beyond that it runs until it waits or ends. */
  interruptionsMax?: number;
  /** Orders after which the search fails: the scenario is larger than was thought. */
  ordersMax?: number;
}

/** A choice made in one run: the thread taken, of how many that could go on. */
interface Choice {
  taken: number;
  options: number;
}

/** Yields wherever the code under test and the scenario touch what they share; see parked-code.ts. */
export function explore(createScenario: () => Scenario, search: Search = {}): number {
  const { interruptionsMax = Number.POSITIVE_INFINITY, ordersMax = 2_000_000 } = search;
  const path: Choice[] = [];
  for (let orders = 1; ; orders++) {
    if (orders > ordersMax) throw new Error(`more than ${ordersMax} orders`);
    const trace: number[] = [];
    try {
      runOnce(createScenario(), path, trace, interruptionsMax);
    } catch (error) {
      throw new Error(`${(error as Error).message}\nafter ${orders} orders, in this one: ${trace.join('')}`, {
        cause: error,
      });
    }
    while (path.length > 0 && path.at(-1)!.taken + 1 === path.at(-1)!.options) path.pop();
    if (path.length === 0) return orders;
    path.at(-1)!.taken++;
  }
}

/** One run: along `path` as far as it goes, then with the first thread that can go on; notes the choices there were. */
function runOnce(
  { threads, finish }: Scenario,
  path: Choice[],
  trace: number[],
  interruptionsMax: number,
): void {
  const parks: (Park | 'ended')[] = threads.map(() => null);
  const canRun = (thread: number) => {
    const park = parks[thread]!;
    return park !== 'ended' && (park === null || park());
  };
  let current = -1;
  let interruptions = 0;
  for (let step = 0; ; step++) {
    let options = threads.map((_, thread) => thread).filter(canRun);
    if (options.length === 0) break;
    if (options.includes(current)) {
      // Going on is the first option; anything else is an interruption.
      const others = interruptions < interruptionsMax ? options.filter((thread) => thread !== current) : [];
      options = [current, ...others];
    }
    if (step === path.length) path.push({ taken: 0, options: options.length });
    const choice = path[step]!;
    if (choice.options !== options.length) throw new Error('the scenario is not the same in each run');
    const thread = options[choice.taken]!;
    if (choice.taken > 0 && options[0] === current) interruptions++;
    current = thread;
    trace.push(thread);
    const result = threads[thread]!.next();
    parks[thread] = result.done === true ? 'ended' : result.value;
  }
  const waiting = parks.flatMap((park, thread) => (park === 'ended' ? [] : [thread]));
  if (waiting.length > 0) throw new Error(`nobody wakes thread ${waiting.join(' and ')}`);
  finish();
}
