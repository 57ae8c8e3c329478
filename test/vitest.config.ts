/**
 * Tests run as compiled JavaScript from dist/, all of them: a worker thread cannot load TypeScript on Node 20,
 * and one way of running is enough. Tidemark's own modules are imported by Node itself, as in production;
 * only the test files pass through vitest. Source maps lead stack traces back to the .ts files.
 */
import { defineConfig } from 'vitest/config';
import { SummaryReporter } from './summary-reporter.js';

/** Coverage sees only what passes through vitest, so there the modules do too. */
const COVERAGE = process.argv.includes('--coverage');

export default defineConfig({
  test: {
    include: ['dist/test/**/*.test.js'],
    exclude: ['node_modules/**'],
    pool: 'forks',
    execArgv: ['--enable-source-maps'],
    maxWorkers: 2,
    globalSetup: ['dist/test/support/shared-cassandra.js'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 30_000,
    reporters: ['default', new SummaryReporter()],
    server: { deps: { external: COVERAGE ? [] : [/\/dist\/(engine|workers|gateway|bench|scripts)\//] } },
    coverage: {
      provider: 'v8',
      include: ['dist/{engine,workers,gateway}/**/*.js'],
      reporter: ['text', 'html'],
      reportsDirectory: 'coverage',
    },
  },
});
