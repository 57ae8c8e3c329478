/**
 * Web pages of elsewhere that have a browser on this machine call a server which asks for no token. The browser tells
 * where a page came from (Origin), but not for every call; and a page whose name was made to point here (DNS
 * rebinding) is of the same origin as what it calls. Such a name is still what the browser names as Host.
 */
import type { HttpRequest } from 'uWebSockets.js';

/** The page is of another origin than what it calls. */
export function hasForeignOrigin(request: HttpRequest): boolean {
  const origin = request.getHeader('origin');
  return origin !== '' && origin.replace(/^[a-z]+:\/\//, '') !== request.getHeader('host');
}

/** The server is called by a name that is not this machine's own. */
export function hasForeignHost(request: HttpRequest): boolean {
  return !isLoopback(hostNameOf(request.getHeader('host')));
}

/** `[::1]:4040` -> `::1` */
function hostNameOf(hostHeader: string): string {
  return hostHeader
    .toLowerCase()
    .replace(/:\d*$/, '')
    .replace(/^\[(.*)\]$/, '$1');
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}
