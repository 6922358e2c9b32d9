// The networks on the WebGPU backend of TensorFlow.js. src/benchmarks.rs describes the steps.

let variables, statistics, optimizer, inputs, targets, next = 0, test;

const images = (values) => tf.tensor(values, [batch, ...network.input]);

function walk(steps, x, layers, train) {
  for (const step of steps) {
    const activation = step.relu ? "relu" : "linear";
    const strides = step.stride;
    switch (step.step) {
      case "dense":
        x = tf.fused.matMul({ a: x.reshape([batch, -1]), b: layers.weight(), bias: layers.weight(), activation });
        break;
      case "conv": {
        const filter = layers.weight();
        const bias = step.bias ? layers.weight() : undefined;
        const pad = [[0, 0], [step.padding, step.padding], [step.padding, step.padding], [0, 0]];
        x = tf.fused.conv2d({ x, filter, strides, pad, bias, activation });
        break;
      }
      case "transposed": {
        const [, height, width] = x.shape;
        const filter = layers.weight().transpose([0, 1, 3, 2]); // TensorFlow.js stores outputs before inputs
        const shape = [batch, 2 * height, 2 * width, filter.shape[2]];
        x = tf.conv2dTranspose(x, filter, shape, 2, "valid").add(layers.weight());
        break;
      }
      case "batch_norm":
        x = batchNorm(x, layers.weight(), layers.weight(), layers.statistics(), train);
        break;
      case "relu":
        x = x.relu();
        break;
      case "max_pool":
        x = tf.maxPool(x, 2, 2, "valid");
        break;
      case "mean":
        x = x.mean([1, 2]);
        break;
      case "residual": {
        const inner = walk(step.inner, x, layers, train);
        x = inner.add(walk(step.shortcut, x, layers, train));
        break;
      }
      case "skip":
        x = tf.concat([x, walk(step.inner, x, layers, train)], -1);
        break;
    }
  }
  return x;
}

// TensorFlow.js has the kernel, but users must compute running statistics.
function batchNorm(x, scale, shift, running, train) {
  if (!train) return tf.batchNorm(x, ...running, shift, scale, 1e-5);
  const { mean, variance } = tf.moments(x, [0, 1, 2]);
  const count = x.size / mean.size;
  const ofBatch = [mean, variance.mul(count / (count - 1))];
  ofBatch.forEach((now, i) => running[i].assign(running[i].mul(0.9).add(now.mul(0.1))));
  return tf.batchNorm(x, mean, variance, shift, scale, 1e-5);
}

function forward(x, train) {
  const [weights, of] = [variables.values(), statistics.values()];
  return walk(network.steps, x, { weight: () => weights.next().value, statistics: () => of.next().value }, train);
}

function step() {
  return tf.tidy(() => {
    const count = inputs.length / features();
    const rows = (bytes) => bytes.subarray((next * bytes.length) / count, ((next + batch) * bytes.length) / count);
    const x = images(scaled(rows(inputs)));
    const oneHot = (labels) => tf.oneHot(tf.tensor1d(Int32Array.from(labels), "int32"), CLASSES);
    const y = network.labels ? oneHot(rows(targets)) : images(scaled(rows(targets)));
    next = next + 2 * batch > count ? 0 : next + batch;
    const loss = network.labels ? tf.losses.softmaxCrossEntropy : tf.losses.meanSquaredError;
    return optimizer.minimize(() => loss(y, forward(x, true)), true, variables);
  });
}

window.engine = {
  async open(job) {
    if (!(await tf.setBackend("webgpu"))) throw new Error("TensorFlow.js finds no WebGPU here");
    await tf.ready();
    const weights = await read("weights.f32", Float32Array);
    let at = 0;
    variables = network.tensors.map(([, shape]) => {
      const size = shape.reduce((a, b) => a * b);
      return tf.variable(tf.tensor(weights.slice(at, (at += size)), shape));
    });
    const scales = network.tensors.filter(([name]) => name.startsWith("batch_norm") && name.endsWith(".scale"));
    statistics = scales.map(([, shape]) => [tf.zeros(shape), tf.ones(shape)].map((t) => tf.variable(t, false)));
    if (job === "train") {
      optimizer = tf.train.adam(0.001, 0.9, 0.999, 1e-8);
      inputs = await read("train-inputs.u8", Uint8Array);
      targets = await read("train-targets.u8", Uint8Array);
    }
    return tf.version.tfjs;
  },

  async train(steps) {
    for (let i = 0; i < steps; i++) {
      const loss = step();
      if (i + 1 === steps) await loss.data(); // waits for the last step
      loss.dispose();
    }
  },

  async forward() {
    test ??= images(await testInputs());
    const output = tf.tidy(() => forward(test, false));
    const values = await output.data();
    output.dispose();
    return values;
  },
};
