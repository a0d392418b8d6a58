import http from 'node:http';

/** A server of counters: `POST /name` adds one, `GET /name` tells, `DELETE /name` forgets. */
export function createServer() {
  const counters = new Map();
  return http.createServer(({ method, url }, response) => {
    const count = counters.get(url) ?? 0;
    if (method === 'POST') counters.set(url, count + 1);
    else if (method === 'DELETE') counters.delete(url);
    else if (method !== 'GET') response.statusCode = 405;
    response.end(JSON.stringify({ count: counters.get(url) ?? 0 }));
  });
}
