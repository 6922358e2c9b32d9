// Common code of both pages: the task's files, the timing, the loss. tfjs.js and wgrad.js set `window.engine`:
//     open(job, batch)    creates the network, and the data set for training; returns the engine's version if known
//     train(steps)        runs this number of steps and waits for them
//     forward()           returns the outputs of the first batch of test rows

const CLASSES = 10;

// The contents of network.json, see src/task.rs.
let job, batch, network;

async function read(name, type) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new type(await response.arrayBuffer());
}

// Converts bytes to numbers from 0 to 1.
const scaled = (bytes) => Float32Array.from(bytes, (b) => b / 255);

const features = () => network.input.reduce((a, b) => a * b);

async function testInputs() {
  return scaled((await read("test-inputs.u8", Uint8Array)).subarray(0, batch * features()));
}

async function start(jobAsked, batchAsked) {
  [job, batch] = [jobAsked, batchAsked];
  network = await (await fetch("network.json")).json();
  const version = await engine.open(job, batch);
  await run(1);
  const { vendor, architecture, description } = (await navigator.gpu.requestAdapter()).info;
  return { device: `${description || `${vendor} ${architecture}`}, WebGPU in Chromium`, version };
}

async function run(count) {
  if (job === "train") return engine.train(count);
  for (let i = 0; i < count; i++) await engine.forward();
}

async function timed(count) {
  const start = performance.now();
  await run(count);
  return (performance.now() - start) / 1000;
}

// Mean cross-entropy or mean squared error in float64, equal to src/task.rs.
async function loss() {
  const targets = await read("test-targets.u8", Uint8Array);
  const values = await engine.forward();
  if (!network.labels) {
    return values.reduce((sum, value, i) => sum + (value - targets[i] / 255) ** 2, 0) / values.length;
  }
  let sum = 0;
  for (let row = 0; row < batch; row++) {
    const of = values.subarray(row * CLASSES, (row + 1) * CLASSES);
    const most = Math.max(...of);
    sum += Math.log(of.reduce((sum, v) => sum + Math.exp(v - most), 0)) - (of[targets[row]] - most);
  }
  return sum / batch;
}
