// The network on wgrad, compiled to WebAssembly.

import initialise, { Engine } from "./wgrad/pkg/wgrad_in_a_browser.js";

let inner, test;

window.engine = {
  async open(job, batch) {
    await initialise();
    inner = await Engine.open(batch, await read("weights.f32", Float32Array));
    if (job === "train") {
      inner.prepare(await read("train-images.u8", Uint8Array), await read("train-labels.u8", Uint8Array));
    }
  },

  train: (steps) => inner.train(steps),

  async forward() {
    test ??= Float32Array.from(await testImages(), (b) => b / 255);
    return inner.forward(test);
  },
};
