// Runs the network beside the page, so that the page never freezes. It is sent numbers only, never a file.
import * as ort from "./vendor/ort.wasm.min.mjs";

let session;

async function start({ engine, network, program }) {
  ort.env.wasm.numThreads = 1; // a plain static server does not send what shared memory needs
  ort.env.wasm.wasmBinary = engine;
  ort.env.wasm.wasmPaths = { mjs: program };
  session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
}

async function run({ image, size }) {
  const began = performance.now();
  const input = new ort.Tensor("float32", image, [1, size, size, 1]);
  const { probability } = await session.run({ image: input });
  return { probability: probability.data.slice(), ms: performance.now() - began };
}

self.onmessage = async ({ data }) => {
  try {
    const answer = data.engine ? await start(data) : await run(data);
    self.postMessage({ answer });
  } catch (error) {
    self.postMessage({ problem: String(error?.message ?? error) });
  }
};
