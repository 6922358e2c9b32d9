// What runs in the page: the network, on TensorFlow.js' WebGPU backend.

const WIDTHS = [784, 512, 256, 128, 10];
const CLASSES = 10;

let variables, optimizer, batch, job, images, labels, next = 0, test;

async function read(name, type) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new type(await response.arrayBuffer());
}

const features = (bytes) => tf.tensor2d(Float32Array.from(bytes, (b) => b / 255), [batch, WIDTHS[0]]);
const oneHot = (bytes) => tf.oneHot(tf.tensor1d(Int32Array.from(bytes), "int32"), CLASSES);

function logits(x) {
  for (let i = 0; i < variables.length; i += 2) {
    const activation = i + 2 < variables.length ? "relu" : "linear";
    x = tf.fused.matMul({ a: x, b: variables[i], bias: variables[i + 1], activation });
  }
  return x;
}

async function start(jobAsked, batchAsked) {
  [job, batch] = [jobAsked, batchAsked];
  if (!(await tf.setBackend("webgpu"))) throw new Error("TensorFlow.js finds no WebGPU here");
  await tf.ready();
  const weights = await read("weights.f32", Float32Array);
  let at = 0;
  const take = (...shape) => {
    const size = shape.reduce((a, b) => a * b);
    return tf.variable(tf.tensor(weights.slice(at, (at += size)), shape));
  };
  variables = WIDTHS.slice(1).flatMap((outputs, i) => [take(WIDTHS[i], outputs), take(outputs)]);
  if (job === "train") {
    optimizer = tf.train.adam(0.001, 0.9, 0.999, 1e-8);
    images = await read("train-images.u8", Uint8Array);
    labels = await read("train-labels.u8", Uint8Array);
  }
  await run(1);
  const { vendor, architecture, description } = (await navigator.gpu.requestAdapter()).info;
  return { device: `${description || `${vendor} ${architecture}`}, WebGPU in Chromium`, version: tf.version.tfjs };
}

function step() {
  return tf.tidy(() => {
    const x = features(images.subarray(next * WIDTHS[0], (next + batch) * WIDTHS[0]));
    const y = oneHot(labels.subarray(next, next + batch));
    next = next + 2 * batch > labels.length ? 0 : next + batch;
    return optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, logits(x)), true, variables);
  });
}

async function run(count) {
  for (let i = 0; i < count; i++) {
    if (job === "train") {
      const loss = step();
      if (i + 1 === count) await loss.data(); // the last step is done then
      loss.dispose();
    } else {
      await forward();
    }
  }
}

async function forward() {
  test ??= features((await read("test-images.u8", Uint8Array)).subarray(0, batch * WIDTHS[0]));
  const output = tf.tidy(() => logits(test));
  const values = await output.data();
  output.dispose();
  return values;
}

async function timed(count) {
  const start = performance.now();
  await run(count);
  return (performance.now() - start) / 1000;
}

// Mean cross-entropy, in numbers of 64 bits, as src/task.rs has it.
async function loss() {
  const labels = await read("test-labels.u8", Uint8Array);
  const values = await forward();
  let sum = 0;
  for (let row = 0; row < batch; row++) {
    const of = values.subarray(row * CLASSES, (row + 1) * CLASSES);
    const most = Math.max(...of);
    sum += Math.log(of.reduce((sum, v) => sum + Math.exp(v - most), 0)) - (of[labels[row]] - most);
  }
  return sum / batch;
}
