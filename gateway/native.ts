/** @throws Error when uWebSockets.js is its slow stand-in in JavaScript, which it becomes with only a warning */
export function requireNative(app: unknown, nodeVersion: string): void {
  if (String(app).includes('[native code]')) return;
  throw new Error(
    `uWebSockets.js has no native build for Node ${nodeVersion} on ${process.platform} ${process.arch} here, and its JavaScript fallback is no server for this load. ` +
      'Use Node 20, or install a build for this version under the same name: ' +
      'npm install uWebSockets.js@github:uNetworking/uWebSockets.js#v20.69.0 (Node 22 and newer, glibc 2.38).',
  );
}
