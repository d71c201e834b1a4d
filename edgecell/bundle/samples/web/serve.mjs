// The bundle on http://127.0.0.1, for this machine only: npm start. PORT=0 takes any free port.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const BUNDLE = fileURLToPath(new URL("../../", import.meta.url));
const PAGE = "/samples/web/";
const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

// A name that another site's page has taken over (DNS rebinding) is none of these.
const OURS = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

const server = createServer(async (request, response) => {
  if (!OURS.test(request.headers.host ?? "")) return response.writeHead(421).end();
  try {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://here").pathname));
    if (path === "/") return response.writeHead(302, { Location: PAGE }).end();
    const file = path.endsWith("/") ? `${path}index.html` : path;
    const body = await readFile(join(BUNDLE, file));
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-cache" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}${PAGE}`);
});
