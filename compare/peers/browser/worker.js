// Runs an engine (tfjs or wgrad) in Chromium as a worker process of `compare`. src/worker.rs describes the protocol.

import { createServer } from "node:http";
import { createReadStream } from "node:fs";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [engine, chromium, job, batch, folder] = process.argv.slice(2);
const here = import.meta.dirname;
const tf = (name) => `node_modules/@tensorflow/${name}`;
const scripts = {
  tfjs: `
    <script src="${tf("tfjs/dist/tf.min.js")}"></script>
    <script src="${tf("tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js")}"></script>
    <script src="tfjs.js"></script>`,
  wgrad: `<script type="module" src="wgrad.js"></script>`,
};
const page_text = `<!doctype html><script src="page.js"></script>${scripts[engine]}`;
const types = { ".js": "text/javascript", ".wasm": "application/wasm" };

const server = createServer((request, response) => {
  if (request.url === "/") {
    response.setHeader("Content-Type", "text/html").end(page_text);
  } else {
    // Serves the task's files and the files of this folder.
    const root = types[extname(request.url)] ? here : folder;
    response.setHeader("Content-Type", types[extname(request.url)] ?? "application/octet-stream");
    createReadStream(join(root, request.url)).on("error", () => response.writeHead(404).end()).pipe(response);
  }
});
await new Promise((ready) => server.listen(0, "localhost", ready));

const args = ["--enable-unsafe-webgpu", "--no-sandbox", "--disable-gpu-watchdog"];
const browser = await puppeteer.launch({ executablePath: chromium, args, protocolTimeout: 600_000 });
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(String(error)));
await page.goto(`http://localhost:${server.address().port}/`);

const answer = (values) => console.log(JSON.stringify(values));
answer(await page.evaluate((job, batch) => start(job, batch), job, Number(batch)));
for await (const line of createInterface({ input: process.stdin })) {
  const [word, count] = line.split(" ");
  if (word === "run") {
    answer({ seconds: await page.evaluate((count) => timed(count), Number(count)) });
  } else if (word === "loss") {
    answer({ loss: await page.evaluate(() => loss()) });
  }
}
await browser.close();
server.close();
