// The model: computes the logits of the next token, with a key-value cache, as onnx/graph.py and onnx/int8.py do.

const ROPE_BASE = 10000;
const NORM_EPSILON = 1e-5;
const LARGEST = 127; // of an int8
const SMALLEST_BLOCK = 16; // of activations that share a scale, as in ONNX Runtime's MatMulNBits
const LARGEST_BLOCK = 256;
const FIRST_ROOM = 128; // positions in a cache, which grows
const ROUNDER = 12582912; // 1.5 * 2^23: adding it to an fp32 number, and taking it away, rounds half to even

const roundUp = (value, multiple) => Math.ceil(value / multiple) * multiple;

/** A model in the memory of a WebAssembly module, and the cache of one text. */
export class Engine {
  /**
   * @param {object} model precision, architecture and tensors: where each is in `weights`
   * @param {Uint8Array} weights the tensors
   * @param {Uint8Array} kernel kernel.wasm
   */
  static async load(model, weights, kernel) {
    const { instance } = await WebAssembly.instantiate(kernel);
    return new Engine(model, weights, instance.exports);
  }

  constructor(model, weights, kernel) {
    const shape = model.architecture;
    this.shape = shape;
    this.context = shape.max_seq_length;
    this.headSize = shape.d_model / shape.heads;
    this.int8 = model.precision === "int8";
    this.tensors = model.tensors;
    this.kernel = kernel;
    const widest = roundUp(Math.max(shape.d_model, shape.feed_forward), 8);
    this.inputAt = roundUp(weights.length, 16); // after the weights: the input of a matmul, its scales, its output
    this.scalesAt = this.inputAt + 4 * widest;
    this.outputAt = this.scalesAt + 4 * roundUp(widest / SMALLEST_BLOCK, 4);
    const outputs = Math.max(shape.vocab_size, 3 * shape.d_model, 2 * shape.feed_forward);
    const size = this.outputAt + 4 * outputs;
    kernel.memory.grow(Math.ceil(size / 65536) - kernel.memory.buffer.byteLength / 65536 + 1);
    this.memory = kernel.memory.buffer;
    new Uint8Array(this.memory).set(weights);
    this.input = new Float32Array(this.memory, this.inputAt, widest);
    this.rounded = new Int16Array(this.memory, this.inputAt, widest);
    this.inputScales = new Float32Array(this.memory, this.scalesAt, Math.ceil(widest / SMALLEST_BLOCK));
    this.gains = this._norms();
    this.rotary = this._rotary();
    this._addCache();
  }

  _addCache() {
    const room = FIRST_ROOM * this.shape.d_model;
    const cache = () => Array.from({ length: this.shape.layers }, () => new Float32Array(room));
    [this.keys, this.values] = [cache(), cache()]; // position by position, each with the vectors of all heads
    this.length = 0; // positions in the cache
    /** Attention weights of the last position: [layer][head][position]. */
    this.attention = [];
  }

  /** The same model with a cache of its own, for another text. */
  fork() {
    const other = Object.assign(Object.create(Engine.prototype), this);
    other._addCache();
    return other;
  }

  /** Forget the text. */
  reset() {
    this.length = 0;
  }

  /** Read tokens from the start and return the logits of the next one. */
  start(tokens) {
    this.reset();
    tokens.forEach((token, index) => this.advance(token, index === tokens.length - 1));
    return this.logits;
  }

  /** Append a token and return the logits of the next one, unless they are not `wanted`. */
  advance(token, wanted = true) {
    const x = this.embedding(token);
    this.attention = [];
    for (let layer = 0; layer < this.shape.layers; layer++) {
      const name = `blocks.${layer}`;
      const qkv = this._project(this._norm(x, `${name}.attention_norm`), `${name}.attention.qkv`);
      this._add(x, this._project(this._attend(qkv, layer), `${name}.attention.out`));
      const gateUp = this._project(this._norm(x, `${name}.feed_forward_norm`), `${name}.feed_forward.gate_up`);
      this._add(x, this._project(this._gate(gateUp), `${name}.feed_forward.down`));
    }
    this.length++;
    if (wanted) this.logits = this._project(this._norm(x, "norm"), this.tensors.head ? "head" : "embedding").slice();
    return this.logits;
  }

  /** The vector of a token. */
  embedding(token) {
    const { at, scales, columns } = this.tensors.embedding;
    const width = this.shape.d_model;
    if (!this.int8) return new Float32Array(this.memory, at + 4 * token * columns, width).slice();
    const scale = new Float32Array(this.memory, scales + 4 * token, 1)[0];
    return Float32Array.from(new Int8Array(this.memory, at + token * columns, width), (value) => value * scale);
  }

  /** A matrix times a vector: a view of memory that the next call overwrites. */
  _project(x, name) {
    const { at, scales, rows, columns } = this.tensors[name];
    if (this.int8) {
      const block = Math.min(LARGEST_BLOCK, Math.max(SMALLEST_BLOCK, 2 ** Math.ceil(Math.log2(x.length))));
      this._round(x, block, columns);
      this.kernel.matmul_int8(at, scales, this.inputAt, this.scalesAt, this.outputAt, rows, columns, block);
    } else {
      this.input.set(x);
      this.input.fill(0, x.length, columns);
      this.kernel.matmul_fp32(at, this.inputAt, this.outputAt, rows, columns);
    }
    return new Float32Array(this.memory, this.outputAt, rows);
  }

  /** Write activations as int8, with the scale of each block. */
  _round(x, block, columns) {
    const { rounded, inputScales } = this;
    const { fround, abs } = Math;
    for (let start = 0, number = 0; start < x.length; start += block, number++) {
      const end = Math.min(start + block, x.length);
      let largest = 0;
      for (let i = start; i < end; i++) largest = abs(x[i]) > largest ? abs(x[i]) : largest;
      inputScales[number] = largest / LARGEST;
      const factor = largest ? fround(LARGEST / largest) : 0;
      for (let i = start; i < end; i++) rounded[i] = fround(fround(x[i] * factor) + ROUNDER) - ROUNDER;
    }
    rounded.fill(0, x.length, columns);
  }

  _norm(x, name) {
    const gain = this.gains[name];
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
    const factor = Math.fround(1 / Math.fround(Math.sqrt(sum / x.length + NORM_EPSILON)));
    return x.map((value, i) => Math.fround(value * factor) * gain[i]);
  }

  _add(x, y) {
    for (let i = 0; i < x.length; i++) x[i] += y[i];
  }

  /** Causal attention of one new position; its keys and values enter the cache. */
  _attend(qkv, layer) {
    const { headSize, length, shape } = this;
    const width = shape.d_model;
    const [keys, values] = [this.keys, this.values].map((cache) =>
      (cache[layer] = withRoom(cache[layer], (length + 1) * width)));
    const queries = qkv.slice(0, width);
    this._rotate(queries);
    keys.set(qkv.subarray(width, 2 * width), length * width);
    this._rotate(keys.subarray(length * width, (length + 1) * width));
    values.set(qkv.subarray(2 * width), length * width);
    const output = new Float64Array(width);
    const heads = [];
    for (let from = 0; from < width; from += headSize) {
      const weights = new Float32Array(length + 1);
      for (let position = 0, key = from; position <= length; position++, key += width) {
        let score = 0;
        for (let i = 0; i < headSize; i++) score += queries[from + i] * keys[key + i];
        weights[position] = score / Math.sqrt(headSize);
      }
      softmax(weights);
      for (let position = 0, value = from; position <= length; position++, value += width) {
        const weight = weights[position];
        for (let i = 0; i < headSize; i++) output[from + i] += weight * values[value + i];
      }
      heads.push(weights);
    }
    this.attention.push(heads);
    return Float32Array.from(output);
  }

  /** Rotate the pairs of each head's vector by the angles of the current position. */
  _rotate(vectors) {
    const pairs = this.headSize / 2;
    const { cos, sin } = this.rotary;
    for (let pair = 0; 2 * pair < vectors.length; pair++) {
      const angle = this.length * pairs + (pair % pairs);
      const x = vectors[2 * pair];
      const y = vectors[2 * pair + 1];
      vectors[2 * pair] = x * cos[angle] - y * sin[angle];
      vectors[2 * pair + 1] = x * sin[angle] + y * cos[angle];
    }
  }

  /** SwiGLU: silu(gate) * up. */
  _gate(gateUp) {
    const half = gateUp.length / 2;
    return gateUp.slice(0, half).map((gate, i) => (gate / (1 + Math.exp(-gate))) * gateUp[half + i]);
  }

  _norms() {
    const norms = Object.entries(this.tensors).filter(([, tensor]) => !tensor.rows);
    return Object.fromEntries(
      norms.map(([name, { at }]) => [name, new Float32Array(this.memory, at, this.shape.d_model)]),
    );
  }

  _rotary() {
    const pairs = this.headSize / 2;
    const angles = Array.from({ length: this.context * pairs }, (_, i) =>
      Math.floor(i / pairs) * ROPE_BASE ** ((-2 * (i % pairs)) / this.headSize));
    return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) };
  }
}

/** A cache, or one twice as large with its content. */
function withRoom(cache, size) {
  if (size <= cache.length) return cache;
  const larger = new Float32Array(2 * cache.length);
  larger.set(cache);
  return larger;
}

/** Turn scores into probabilities, in place. */
export function softmax(scores) {
  let largest = -Infinity;
  for (let i = 0; i < scores.length; i++) largest = scores[i] > largest ? scores[i] : largest;
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += scores[i] = Math.exp(scores[i] - largest);
  for (let i = 0; i < scores.length; i++) scores[i] /= sum;
  return scores;
}
