/** Prints `N passed, N failed` as the last line of a run, for whoever reads the output by machine. */
import type { Reporter, TestModule, TestSuite } from 'vitest/node';

export interface TestCounts {
  passed: number;
  failed: number;
  skipped: number;
}

/** What of a test module is counted; each error of a module or suite (it did not load, a hook failed) is one failure more. */
export type CountedModule = Pick<TestModule, 'errors'> & {
  children: {
    allTests(): Iterable<{ result(): { state: string } }>;
    allSuites(): Iterable<Pick<TestSuite, 'errors'>>;
  };
};

export function countTests(modules: Iterable<CountedModule>, unhandledErrorCount: number): TestCounts {
  const counts: TestCounts = { passed: 0, failed: unhandledErrorCount, skipped: 0 };
  for (const module of modules) {
    counts.failed += module.errors().length;
    for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // A test still pending when the run ends was cut off: it did not pass.
      if (state === 'passed') counts.passed++;
      else if (state === 'skipped') counts.skipped++;
      else counts.failed++;
    }
  }
  return counts;
}

export function summaryLine({ passed, failed, skipped }: TestCounts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

export class SummaryReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<unknown>): void {
    const line = summaryLine(countTests(modules, unhandledErrors.length));
    process.once('exit', () => process.stdout.write(`${line}\n`));
  }
}
