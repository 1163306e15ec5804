// The network as the page sees it: loading with progress, then one slice after another, the one on show first.

/** Fetch files from the page's own folder; `progress` is told of how many bytes in all have come. */
export async function fetchAll(paths, progress) {
  const loaded = paths.map(() => 0);
  return Promise.all(paths.map(async (path, at) => {
    const response = await fetch(path);
    if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
    const parts = [], reader = response.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      parts.push(piece.value);
      loaded[at] += piece.value.length;
      progress(loaded.reduce((a, b) => a + b));
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }));
}

export class Network {
  /** `changed` is called when the probabilities of a slice have come, `failed` with an error. */
  constructor(size, changed, failed) {
    Object.assign(this, { size, changed, failed, known: new Map(), queue: [], busy: null, ready: false });
  }

  async start(engine, network) {
    // A worker made of a blob lives under the page's own Content-Security-Policy; one made of a file would not.
    const source = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address, { type: "module" });
    const program = new URL("vendor/ort-wasm-simd-threaded.mjs", document.baseURI).href;
    await this.ask({ engine, network, program }, [engine.buffer, network.buffer]);
    this.ready = true;
    this.next();
  }

  ask(message, moved = []) {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data.problem ? reject(new Error(data.problem)) : resolve(data.answer));
      this.worker.onerror = (event) => reject(new Error(event.message || "the network's program could not be loaded"));
      this.worker.postMessage(message, moved);
    });
  }

  /** Ask for slices, the most wanted first: [[key, () => image], …]. What was asked before and not begun is dropped. */
  want(slices) {
    this.queue = slices.filter(([key]) => !this.known.has(key) && key !== this.busy);
    this.next();
  }

  async next() {
    if (!this.ready || this.busy !== null || !this.queue.length) return undefined;
    const [key, imageOf] = this.queue.shift(), image = imageOf();
    this.busy = key;
    const empty = { probability: new Float32Array(image.length), ms: 0 };
    try {
      this.known.set(key, await (image.some((value) => value > 0) ? this.ask({ image, size: this.size }) : empty));
      this.busy = null;
    } catch (error) {
      return this.failed(error);
    }
    this.changed();
    return this.next();
  }
}
