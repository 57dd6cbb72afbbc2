// The safety filter: the blocklist of rules.yaml, matched word by word exactly as in inference/safety/filter.py.

const GAPS = { "..": 2, "...": 4 }; // the maximum number of words that a gap in a rule can stand for
// What `fold` returns for a character that is not part of a word
const IGNORED = "";
const SPACE = " ";
const SEPARATOR = "-";
const UNREADABLE = 64; // longer words cannot match a rule
const CHAIN = 24; // the maximum number of fragments in a spelled out word such as "b-o-m-b"
const IS_SPACE = /^[\s\x1c-\x1f\x85]$/u;

/** The compiled rules. */
export class SafetyFilter {
  /** @param {object} data the content of rules.yaml, and `folds`: case foldings that differ from lower case */
  constructor({ look_alikes: alikes, leet, groups, rules, folds }) {
    this.lookAlikes = new Map(Object.entries(alikes).flatMap(([letters, all]) =>
      [...all].map((one) => [one, letters])));
    this.caseFolds = new Map(Object.entries(folds));
    this.symbols = new Set(Object.keys(leet));
    const readings = Math.max(...Object.values(leet).map((letters) => letters.length));
    this.leet = Array.from({ length: readings }, (_, n) =>
      new Map(Object.entries(leet).map(([symbol, letters]) => [symbol, letters[Math.min(n, letters.length - 1)]])));
    this.folded = new Map();
    this.words = new Set();
    this.root = this._compile(rules, groups);
    this.squeezed = new Map();
    for (const word of [...this.words].sort())
      this.squeezed.set(squeeze(word), [...(this.squeezed.get(squeeze(word)) ?? []), word]);
  }

  /** The first violation in a text, with its category, rule, start and end (in code points), or null. */
  check(text) {
    const matcher = new Matcher(this);
    matcher.read(text);
    matcher.finish();
    return matcher.violation;
  }

  /** Normalize a character to plain lowercase letters and digits, or to one of the constants above. */
  fold(character) {
    if (!this.folded.has(character)) this.folded.set(character, this._fold(character));
    return this.folded.get(character);
  }

  _fold(character) {
    if (/[\p{Cf}\p{Mn}\p{Me}]/u.test(character)) return IGNORED;
    if (/\p{Cc}/u.test(character) && !IS_SPACE.test(character)) return IGNORED;
    const cased = (part) => this.lookAlikes.get(part) ?? this.caseFolds.get(part) ?? part.toLowerCase();
    const folded = [...character.normalize("NFKD")].map(cased).join("");
    const plain = [...folded.normalize("NFKD")].map((part) => this.lookAlikes.get(part) ?? part).join("");
    const word = [...plain].filter((part) => /[\p{L}\p{N}]/u.test(part) || this.symbols.has(part)).join("");
    if (word && !word.replaceAll("!", "")) return "!";
    return word || (IS_SPACE.test(character) ? SPACE : SEPARATOR);
  }

  /** The words of the rules that a folded word can be read as, given leetspeak and repeated letters. */
  readings(word) {
    if (this.words.has(word)) return [word];
    if ([...word].length > UNREADABLE) return [];
    let candidates = [word];
    if (!/^\p{L}+$/u.test(word)) {
      if (!/\p{L}/u.test(word)) return [];
      candidates = [...new Set(this.leet.map((table) => [...word].map((one) => table.get(one) ?? one).join("")))];
    }
    const found = candidates.filter((candidate) => this.words.has(candidate));
    const stretched = candidates.filter((candidate) => /(.)\1\1/u.test(candidate));
    return [...found, ...stretched.flatMap((candidate) => this.squeezed.get(squeeze(candidate)) ?? [])];
  }

  /** The root of the trie of all rules. A node has the words that may follow, with up to `gap` others in between. */
  _compile(rules, groups) {
    const nodes = new Map([["", newNode(0)]]);
    for (const [category, list] of Object.entries(rules)) {
      for (const rule of list) {
        for (const steps of this._expand(rule, groups)) {
          let path = "";
          for (const { words, gap } of steps) {
            const before = nodes.get(path);
            path += `${[...words].sort().join("|")} ${gap} `;
            if (nodes.has(path)) continue;
            nodes.set(path, newNode(gap));
            for (const word of words) {
              this.words.add(word);
              before.following.set(word, [...(before.following.get(word) ?? []), nodes.get(path)]);
            }
          }
          nodes.get(path).completes ??= { category, rule };
        }
      }
    }
    return nodes.get("");
  }

  /** The sequences of steps that a rule stands for; single-word alternatives are combined in one step. */
  _expand(rule, groups) {
    let sequences = [[]];
    for (const element of rule.split(/\s+/)) {
      if (element in GAPS) {
        sequences = sequences.map((steps) => [...steps.slice(0, -1), { ...steps.at(-1), gap: GAPS[element] }]);
        continue;
      }
      const all = phrases(element, groups).map((phrase) => phrase.map((word) =>
        [...word].map((one) => this.fold(one)).join("")));
      const single = new Set(all.flatMap((phrase) => (phrase.length === 1 ? phrase : [])));
      const choices = all.filter((phrase) => phrase.length > 1).map((phrase) => phrase.map((word) => new Set([word])));
      if (single.size) choices.unshift([single]);
      sequences = sequences.flatMap((steps) =>
        choices.map((choice) => [...steps, ...choice.map((words) => ({ words, gap: 0 }))]));
    }
    return sequences;
  }
}

/** Releases text that arrives in parts as soon as it is known to be safe; holds back what could become a violation. */
export class SafeStream {
  /** @param {string} context text before the stream, such as the prompt, which rules can match; it is never released */
  constructor(rules, context = "") {
    this.matcher = new Matcher(rules);
    this.matcher.read(context);
    this.held = [];
    this.shown = [...context].length; // where `held` begins
  }

  /** The violation that ended the stream, or null. */
  get blocked() {
    return this.matcher.violation;
  }

  /** Add text; return what can be shown now. */
  feed(text) {
    if (this.blocked) return "";
    this.held.push(...text);
    this.matcher.read(text);
    return this._release();
  }

  /** End the stream; return the rest. */
  finish() {
    if (this.blocked) return "";
    this.matcher.finish();
    return this._release();
  }

  _release() {
    const released = this.held.splice(0, Math.max(0, this.matcher.safeUntil() - this.shown));
    this.shown += released.length;
    if (this.blocked) this.held = [];
    return released.join("");
  }
}

/** Reads text in parts and stops at the first violation. It advances all partial matches word by word. */
class Matcher {
  constructor(rules) {
    this.rules = rules;
    this.violation = null;
    this.position = 0;
    this.word = ""; // the current word so far, folded
    this.start = this.end = 0; // its place in the text
    this.separators = 0; // between it and the previous word
    this.live = []; // partial matches: the node reached, where in the text it began, how many words it may skip
    this.chain = []; // previous words that may form a spelled out word with it
  }

  read(text) {
    for (const character of text) {
      const folded = this.rules.fold(character);
      if (folded === SPACE || folded === SEPARATOR || (folded === "!" && !this.word)) {
        if (this.word) {
          this._endWord();
          if (this.violation) return;
        }
        this._separate(folded === SPACE ? 2 : 1);
      } else if (folded) {
        this._extend(folded);
      }
      this.position++;
    }
  }

  finish() {
    if (this.word && !this.violation) this._endWord();
    this.live = this.chain = [];
  }

  /** The start of the violation, or, if there is none, the first place at which one can still start. */
  safeUntil() {
    if (this.violation) return this.violation.start;
    const starts = this.live.map((partial) => partial.start);
    if (this.chain.length) starts.push(this.chain[0].start, ...this.chain[0].live.map((partial) => partial.start));
    if (this.word && [...this.word].length <= UNREADABLE) starts.push(this.start);
    return starts.length ? Math.min(...starts) : this.position;
  }

  _extend(folded) {
    if (!this.word) this.start = this.position;
    const letters = [...this.word];
    if (letters.slice(-3).join("") !== folded.repeat(3) && letters.length <= UNREADABLE) this.word += folded;
    if (folded !== "!") this.end = this.position + 1;
  }

  _separate(weight) {
    this.separators += weight;
    if (this.chain.length && !this._joins("")) this.chain = [];
  }

  _joins(word) {
    return this.separators <= 1 || ([...word].length <= 1 && [...this.chain.at(-1).text].length === 1);
  }

  _endWord() {
    const word = this.word.replace(/!+$/, "");
    this.word = "";
    if (this.chain.length && !this._joins(word)) this.chain = [];
    this.chain = [...this.chain.slice(1 - CHAIN), { text: word, start: this.start, live: this.live }];
    this.separators = 0;
    const live = new Map(); // of several partial matches at the same place, the one with the earliest start
    const skipping = this.live.flatMap((partial) => (partial.skips ? [{ ...partial, skips: partial.skips - 1 }] : []));
    for (const partial of [...skipping, ...this._advanced()]) {
      const { node, start, skips } = partial;
      if (node.completes && (!this.violation || start < this.violation.start))
        this.violation = { ...node.completes, start, end: this.end };
      const place = `${node.number} ${skips}`;
      if (!live.has(place) || start < live.get(place).start) live.set(place, partial);
    }
    this.live = [...live.values()].filter(({ node }) => node.following.size);
  }

  *_advanced() {
    let joined = "";
    for (const fragment of [...this.chain].reverse()) {
      joined = fragment.text + joined;
      for (const word of this.rules.readings(joined)) {
        for (const node of this.rules.root.following.get(word) ?? [])
          yield { node, start: fragment.start, skips: node.gap };
        for (const partial of fragment.live)
          for (const node of partial.node.following.get(word) ?? [])
            yield { node, start: partial.start, skips: node.gap };
      }
    }
  }
}

let nodeCount = 0;
const newNode = (gap) => ({ number: nodeCount++, gap, following: new Map(), completes: null });

/** The alternatives of an element: word, words_of_a_phrase, <group>, or several of these joined by |. */
function phrases(element, groups) {
  return element.split("|").flatMap((part) =>
    part.startsWith("<")
      ? groups[part.slice(1, -1)].split(/\s+/).flatMap((member) => phrases(member, groups))
      : [part.split("_")]);
}

const squeeze = (word) => word.replace(/(.)\1+/gu, "$1");
