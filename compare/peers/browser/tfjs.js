// The network on TensorFlow.js' WebGPU backend.

const WIDTHS = [784, 512, 256, 128, 10];

let variables, optimizer, rows, images, labels, next = 0, test;

const features = (bytes) => tf.tensor2d(Float32Array.from(bytes, (b) => b / 255), [rows, WIDTHS[0]]);
const oneHot = (bytes) => tf.oneHot(tf.tensor1d(Int32Array.from(bytes), "int32"), WIDTHS.at(-1));

function logits(x) {
  for (let i = 0; i < variables.length; i += 2) {
    const activation = i + 2 < variables.length ? "relu" : "linear";
    x = tf.fused.matMul({ a: x, b: variables[i], bias: variables[i + 1], activation });
  }
  return x;
}

function step() {
  return tf.tidy(() => {
    const x = features(images.subarray(next * WIDTHS[0], (next + rows) * WIDTHS[0]));
    const y = oneHot(labels.subarray(next, next + rows));
    next = next + 2 * rows > labels.length ? 0 : next + rows;
    return optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, logits(x)), true, variables);
  });
}

window.engine = {
  async open(job, batch) {
    rows = batch;
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
    return tf.version.tfjs;
  },

  async train(steps) {
    for (let i = 0; i < steps; i++) {
      const loss = step();
      if (i + 1 === steps) await loss.data(); // the last step is done then
      loss.dispose();
    }
  },

  async forward() {
    test ??= features(await testImages());
    const output = tf.tidy(() => logits(test));
    const values = await output.data();
    output.dispose();
    return values;
  },
};
