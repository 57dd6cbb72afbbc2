// The tokenizer: text to token ids and back, as SentencePiece and tokenizer/tokenizer.py do.

const MARK = "▁"; // U+2581, which SentencePiece writes for a space inside a token
const UNKNOWN_PENALTY = 10; // an unknown character scores this much less than the worst token
const UNKNOWN_TEXT = " ⁇ ";

/** A trained tokenizer. It converts text without loss: what has no token becomes the tokens of its UTF-8 bytes. */
export class Tokenizer {
  /**
   * @param {object} data type (unigram, bpe, char or word); tokens and their kinds; ids of <unk>, <s> and </s>; scores
   */
  constructor({ type, tokens, kinds, unknown, begin, end, scores }) {
    Object.assign(this, { type, tokens, kinds, unknown, begin, end, scores });
    this.size = tokens.length;
    this.ids = new Map(tokens.flatMap((token, id) => (kinds[id] === "n" ? [[token, id]] : [])));
    this.trie = newTrieNode();
    for (const [token, id] of this.ids) this._insert(token, id);
    const worst = [...this.ids.values()].reduce((least, id) => Math.min(least, scores[id]), Infinity);
    this.unknownScore = Math.fround(worst - UNKNOWN_PENALTY);
    this.byteIds = Array.from({ length: 256 }, (_, byte) => tokens.indexOf(`<0x${hex(byte)}>`));
    this.bytes = new Map(this.byteIds.map((id, byte) => [id, byte]));
    this.markIds = [...utf8(MARK)].map((byte) => this.byteIds[byte]);
  }

  /** Token ids of a text, without <s> and </s>. */
  encode(text) {
    const parts = text.replace(/\p{Surrogate}/gu, "\ufffd").split(MARK);
    return parts.flatMap((part, number) => [...(number ? this.markIds : []), ...this._withSpaces(this._encode(part))]);
  }

  /** The text of a token that is not a byte. */
  decode(id) {
    return { n: this.tokens[id].replaceAll(MARK, " "), u: UNKNOWN_TEXT }[this.kinds[id]] ?? "";
  }

  /** The bytes of a token, as numbers. */
  bytesOf(id) {
    return this.bytes.has(id) ? [this.bytes.get(id)] : [...utf8(this.decode(id))];
  }

  /** How a token is shown: a byte as <0x0A>, a control token by its name. */
  label(id) {
    return this.kinds[id] === "n" ? this.tokens[id].replaceAll(MARK, " ") : this.tokens[id];
  }

  _encode(part) {
    const characters = [...part.replaceAll(" ", MARK)];
    const pieces = {
      unigram: () => this._bestPath(characters),
      bpe: () => this._merge(characters),
      char: () => characters,
      word: () => characters.join("").match(/▁[^▁]*|[^▁]+/g) ?? [],
    }[this.type]();
    return pieces.flatMap((piece) =>
      this.ids.has(piece) ? [this.ids.get(piece)] : [...utf8(piece)].map((byte) => this.byteIds[byte]));
  }

  _insert(token, id) {
    let node = this.trie;
    for (const character of token) {
      if (!node.next.has(character)) node.next.set(character, newTrieNode());
      node = node.next.get(character);
    }
    node.id = id;
  }

  /** In a word model an unknown word includes the preceding space, as the bytes of the mark. */
  _withSpaces(ids) {
    const result = [];
    for (const id of ids) {
      result.push(id);
      if (this.markIds.every((mark, i) => result.at(i - 3) === mark)) result.splice(-3, 3, this.byteIds[0x20]);
    }
    return result;
  }

  /** The most likely segmentation of a unigram model (Viterbi), in the arithmetic of SentencePiece. */
  _bestPath(characters) {
    const count = characters.length;
    const best = new Float32Array(count + 1);
    const from = new Int32Array(count + 1).fill(-1);
    const update = (end, start, score) => {
      const sum = Math.fround(best[start] + score);
      if (from[end] < 0 || sum > best[end]) [best[end], from[end]] = [sum, start];
    };
    for (let start = 0; start < count; start++) {
      let end = start;
      for (let node = this.trie.next.get(characters[end]); node; node = node.next.get(characters[end])) {
        end++;
        if (node.id !== undefined) update(end, start, this.scores[node.id]);
      }
      if (this.trie.next.get(characters[start])?.id === undefined) update(start + 1, start, this.unknownScore);
    }
    const pieces = [];
    for (let end = count; end > 0; end = from[end]) pieces.push(characters.slice(from[end], end).join(""));
    return pieces.reverse();
  }

  /** Byte-pair encoding: merge the neighbours with the best score, the leftmost first, as long as any form a token. */
  _merge(characters) {
    const last = characters.length - 1;
    const symbols = characters.map((text, i) => ({ text, previous: i - 1, next: i < last ? i + 1 : -1 }));
    const pairs = new Heap((a, b) => a.score > b.score || (a.score === b.score && a.left < b.left));
    const consider = (left, right) => {
      if (left < 0 || right < 0) return;
      const text = symbols[left].text + symbols[right].text;
      const id = this.ids.get(text);
      if (id !== undefined) pairs.push({ left, right, text, score: this.scores[id] });
    };
    symbols.forEach((symbol, i) => consider(i, symbol.next));
    for (let pair = pairs.pop(); pair; pair = pairs.pop()) {
      const [left, right] = [symbols[pair.left], symbols[pair.right]];
      if (!left.text || !right.text || left.text + right.text !== pair.text) continue; // one of them was merged since
      left.text = pair.text;
      right.text = "";
      left.next = right.next;
      if (right.next >= 0) symbols[right.next].previous = pair.left;
      consider(left.previous, pair.left);
      consider(pair.left, left.next);
    }
    return symbols.flatMap(({ text }) => (text ? [text] : []));
  }
}

/** Decodes tokens one by one. Bytes of an incomplete character are held back until it is complete. */
export class TextStream {
  constructor(tokenizer) {
    this.tokenizer = tokenizer;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }

  /** The text that one more token completes. */
  push(id) {
    const byte = this.tokenizer.bytes.get(id);
    if (byte !== undefined) return this.decoder.decode(Uint8Array.of(byte), { stream: true });
    return this.finish() + this.tokenizer.decode(id);
  }

  /** The rest: U+FFFD if bytes are held back. */
  finish() {
    return this.decoder.decode();
  }
}

/** A binary heap: `pop` returns the element that comes before all others. */
class Heap {
  constructor(before) {
    this.before = before;
    this.items = [];
  }

  push(item) {
    const { items, before } = this;
    let at = items.push(item) - 1;
    for (let up; at && before(item, items[(up = (at - 1) >> 1)]); at = up) items[at] = items[up];
    items[at] = item;
  }

  pop() {
    const { items, before } = this;
    const [first, last] = [items[0], items.pop()];
    if (!items.length) return first;
    let at = 0;
    for (let down = 1; down < items.length; down = 2 * at + 1) {
      if (down + 1 < items.length && before(items[down + 1], items[down])) down++;
      if (!before(items[down], last)) break;
      items[at] = items[down];
      at = down;
    }
    items[at] = last;
    return first;
  }
}

const newTrieNode = () => ({ next: new Map(), id: undefined });

export const utf8 = (text) => new TextEncoder().encode(text);
export const hex = (byte) => byte.toString(16).toUpperCase().padStart(2, "0");
