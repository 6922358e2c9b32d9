// The networks on wgrad, compiled to WebAssembly.

import initialise, { Engine } from "./wgrad/pkg/wgrad_in_a_browser.js";

let inner, test;

window.engine = {
  async open(job, batch) {
    await initialise();
    inner = await Engine.open(network.name, batch, await read("weights.f32", Float32Array));
    if (job === "train") {
      inner.prepare(await read("train-inputs.u8", Uint8Array), await read("train-targets.u8", Uint8Array));
    }
  },

  train: (steps) => inner.train(steps),

  async forward() {
    test ??= await testInputs();
    return inner.forward(test);
  },
};
