// Sampling: how the next token is chosen from logits, step by step as in inference/sampling.py.

export const DEFAULTS = {
  temperature: 0.8, topK: 40, topP: 1, minP: 0, repeatPenalty: 1, repeatLastN: 64, seed: 0n,
};

const GROUP = 32; // logits, in `ranked`

/** Chooses the tokens of a text. Equal settings and logits give equal tokens, the ones of the command line. */
export class Sampler {
  constructor(settings) {
    this.settings = settings;
    this.random = new Random(settings.seed);
  }

  /** The next token, given its logits and the tokens `seen` before it. */
  choose(logits, seen) {
    const scores = penalized(logits, seen, this.settings);
    if (!Number.isFinite(scores[argmax(scores)]))
      throw new Error("The model computes no finite scores: it did not learn.");
    if (this.settings.temperature === 0) return argmax(scores);
    const { ids, weights } = candidates(scores, this.settings);
    let sum = 0;
    const cumulative = weights.map((weight) => (sum += weight));
    const drawn = this.random.next() * sum;
    return ids[cumulative.findIndex((value) => value > drawn)];
  }
}

/** A copy of the logits in which those of recent tokens are divided by the penalty, or multiplied if negative. */
export function penalized(logits, seen, { repeatPenalty, repeatLastN }) {
  if (repeatPenalty === 1 || !repeatLastN) return logits;
  const [copy, penalty] = [logits.slice(), Math.fround(repeatPenalty)];
  for (const id of new Set(seen.slice(-repeatLastN)))
    copy[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  return copy;
}

/** The tokens that may be drawn, likeliest first, and their weights: after top-k, top-p, min-p and temperature. */
export function candidates(logits, { temperature, topK, topP, minP }) {
  let ids = ranked(logits, topK || logits.length);
  const best = logits[ids[0]];
  if (topP < 1) ids = ids.slice(0, nucleusSize(ids.map((id) => Math.exp(logits[id] - best)), topP));
  if (minP > 0) ids = ids.filter((id) => logits[id] >= best + Math.log(minP));
  if (temperature === 0) return { ids: ids.slice(0, 1), weights: [1] };
  return { ids, weights: ids.map((id) => Math.exp((logits[id] - best) / temperature)) };
}

/** The ids of the `count` largest logits, in descending order; ties in order of id. */
export function ranked(logits, count) {
  const before = (a, b) => logits[b] - logits[a] || a - b;
  if (count * GROUP > logits.length) return Array.from(logits, (_, id) => id).sort(before).slice(0, count);
  // Sorting all logits is slow. At least `count` of them reach the count-th largest maximum of a group; few more do.
  const maxima = new Float32Array(Math.ceil(logits.length / GROUP)).fill(-Infinity);
  for (let id = 0; id < logits.length; id++) {
    const group = id % maxima.length;
    maxima[group] = Math.max(maxima[group], logits[id]);
  }
  const threshold = maxima.sort().at(-count);
  const kept = [];
  for (let id = 0; id < logits.length; id++) if (logits[id] >= threshold) kept.push(id);
  return kept.sort(before).slice(0, count);
}

function nucleusSize(weights, topP) {
  let sum = 0;
  const cumulative = weights.map((weight) => (sum += weight));
  const last = cumulative.findIndex((value) => value >= topP * sum);
  return last < 0 ? weights.length : last + 1;
}

export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (!(values[i] <= values[best])) best = i; // or the last NaN
  return best;
}

const MASK_128 = (1n << 128n) - 1n;
const MASK_64 = (1n << 64n) - 1n;
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/** NumPy's PCG64, seeded with [seed, 0] (0: the first text). */
class Random {
  constructor(seed) {
    const [a, b, c, d] = seedWords([...words(seed), 0]);
    this.increment = ((((c << 64n) | d) << 1n) | 1n) & MASK_128;
    this.state = (this.increment + ((a << 64n) | b)) & MASK_128;
    this._step();
  }

  /** The next number in [0, 1). */
  next() {
    this._step();
    const [high, low] = [this.state >> 64n, this.state & MASK_64];
    const [mixed, turn] = [high ^ low, this.state >> 122n];
    const drawn = ((mixed >> turn) | (mixed << (64n - turn))) & MASK_64;
    return Number(drawn >> 11n) / 2 ** 53;
  }

  _step() {
    this.state = (this.state * MULTIPLIER + this.increment) & MASK_128;
  }
}

/** The 32-bit words of a number, the lowest first; at least one. */
function words(number) {
  const rest = number >> 32n;
  return [Number(number & 0xffffffffn), ...(rest ? words(rest) : [])];
}

/** NumPy's SeedSequence: four 64-bit numbers from any number of 32-bit ones. */
function seedWords(entropy) {
  let constant = 0x43b0d7e5;
  const hashed = (value, multiplier) => {
    value ^= constant;
    constant = Math.imul(constant, multiplier);
    value = Math.imul(value, constant);
    return (value ^ (value >>> 16)) >>> 0;
  };
  const hash = (value) => hashed(value, 0x931e8875);
  const mix = (x, y) => {
    const value = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) | 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0));
  for (let from = 0; from < 4; from++)
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  for (const value of entropy.slice(4)) for (let to = 0; to < 4; to++) pool[to] = mix(pool[to], hash(value));
  constant = 0x8b51f9dd;
  const state = Array.from({ length: 8 }, (_, i) => BigInt(hashed(pool[i % 4], 0x58f38ded)));
  return [0, 2, 4, 6].map((i) => state[i] | (state[i + 1] << 32n));
}
