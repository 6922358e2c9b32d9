// TensorFlow.js in Chromium, as one of the processes that `compare` talks to: see src/worker.rs for what is asked and answered.

import { createServer } from "node:http";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [chromium, job, batch, folder] = process.argv.slice(2);
const here = import.meta.dirname;
const files = {
  "/tf.js": join(here, "node_modules/@tensorflow/tfjs/dist/tf.min.js"),
  "/webgpu.js": join(here, "node_modules/@tensorflow/tfjs-backend-webgpu/dist/tf-backend-webgpu.min.js"),
  "/page.js": join(here, "page.js"),
};
const page_text = `<!doctype html><script src="tf.js"></script><script src="webgpu.js"></script><script src="page.js"></script>`;

const server = createServer((request, response) => {
  if (request.url === "/") {
    response.setHeader("Content-Type", "text/html").end(page_text);
  } else {
    const file = files[request.url] ?? join(folder, request.url.slice(1));
    createReadStream(file).on("error", () => response.writeHead(404).end()).pipe(response);
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
