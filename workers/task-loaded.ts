/** What the task of a thread posts as soon as it runs, and has nothing more to import: see task-thread.ts. */
export const TASK_LOADED = { isLoaded: true };
