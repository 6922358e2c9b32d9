// Trains in a worker for `digits.html`: each message names a method, and is answered with what its promise comes to.
import start, { Digits } from "./pkg/browser.js";

const started = start();
let digits;

onmessage = async ({ data: { call, method, args } }) => {
  const told = (...what) => postMessage({ call, told: what });
  try {
    await started;
    let value;
    if (method === "open") {
      digits = await Digits.open(...args, told);
      value = digits.why();
    } else {
      value = await digits[method](...args, ...(method === "fit" ? [told] : []));
    }
    postMessage({ call, value });
  } catch (error) {
    postMessage({ call, error: { code: error.code, message: error.message ?? String(error) } });
  }
};
