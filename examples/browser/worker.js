// Trains in a worker for `digits.html`. Each message names a method. The answer is the result of the method's promise.
import start, { Digits } from "./pkg/browser.js";

const started = start();
let digits;

onmessage = async ({ data: { call, method, args } }) => {
  const onProgress = (...what) => postMessage({ call, progress: what });
  try {
    await started;
    let value;
    if (method === "open") {
      digits = await Digits.open(...args, onProgress);
      value = digits.why();
    } else {
      value = await digits[method](...args, ...(method === "fit" ? [onProgress] : []));
    }
    postMessage({ call, value });
  } catch (error) {
    postMessage({ call, error: { code: error.code, message: error.message ?? String(error) } });
  }
};
