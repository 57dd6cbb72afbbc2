// Building blocks of the views.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (functions are listeners, without "on") and children: elements or text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

/** The same for SVG. */
export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  setAttributes(made, attributes);
  made.append(...children);
  return made;
}

function setAttributes(made, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (![false, undefined, null].includes(value)) made.setAttribute(name, value === true ? "" : value);
  }
}

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const whole = (value) => NUMBER.format(value);

/** A probability: 12%, 0.3%, or < 0.1%. */
export function percent(value) {
  if (value >= 0.0995) return `${(100 * value).toFixed(0)}%`;
  return value >= 0.001 ? `${(100 * value).toFixed(1)}%` : "< 0.1%";
}

/** A token as it is in the text, between marks that show its spaces. */
export function tokenCode(tokenizer, id) {
  const label = tokenizer.label(id);
  return element("code", {}, label.replaceAll(" ", "␣").replaceAll("\t", "⇥") || "(empty)");
}

/** A number and its bar, whose length is `value` of the longest. */
export function bar(value, text, kind = "") {
  const line = element("i");
  line.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
  return element("span", { class: `bar ${kind}` }, element("span", {}, text), line);
}

/** A table: a caption, column titles, rows of cells (text or elements); the first cell of a row is its title. */
export function table(caption, titles, rows, numbers = []) {
  const style = (column) => (numbers.includes(column) ? "number" : false);
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element("table", {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...titles.map((title, i) =>
        element("th", { scope: "col", class: style(i) }, title)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", { class: cells.chosen ? "chosen" : false },
        ...cells.map((cell, i) => element(i ? "td" : "th", { scope: i ? false : "row", class: style(i) }, cell)))))));
}

/** A list of terms and their values. */
export const terms = (pairs) => pairs.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);

// The least probability, the class and the name of each
const LEVELS = [
  [0.5, "p4", "50% or more"], [0.2, "p3", "20–50%"], [0.05, "p2", "5–20%"], [0.01, "p1", "1–5%"],
  [0, "p0", "below 1%"],
];

/** The class that colours a token of some probability. */
export const level = (probability) => LEVELS.find(([least]) => probability >= least)[1];

export const legend = () => [
  "The model gave this token a probability of",
  ...LEVELS.map(([, name, text]) => element("span", {}, element("i", { class: name }), text)),
];

/**
 * Show a text as tokens, of which one can be selected, by pointer or arrow keys.
 * @param {{text: string, style?: string, title?: string}[]} tokens what each shows
 * @param {(index: number) => void} select called with a token's place
 */
export function showTokens(container, name, tokens, select) {
  const spans = tokens.map(({ text, style, title }, index) => element("span", {
    class: `token ${style ?? ""}`, role: "option", "aria-selected": "false", tabindex: index ? -1 : 0, title,
    click: () => choose(index),
  }, ...withSigns(text)));
  const choose = (index) => {
    for (const span of spans) {
      span.setAttribute("aria-selected", String(span === spans[index]));
      span.tabIndex = span === spans[index] ? 0 : -1;
    }
    spans[index].focus({ preventScroll: true });
    select(index);
    spans[index].scrollIntoView({ block: "nearest" });
  };
  const keys = {
    ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity, Enter: 0, " ": 0,
  };
  const list = element("span", {
    role: "listbox", "aria-label": name, "aria-orientation": "horizontal",
    keydown: (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      choose(Math.min(spans.length - 1, Math.max(0, spans.indexOf(document.activeElement) + keys[event.key])));
    },
  }, ...spans);
  container.replaceChildren(...(spans.length ? [list] : []));
  return { spans, choose };
}

/** Text in which what cannot be seen has a sign: line ends, tabs, bytes. */
function withSigns(text) {
  return text.split(/(\n|\t|<0x..>)/).filter(Boolean).map((part) => {
    const sign = { "\n": "↵\n", "\t": "⇥\t" }[part] ?? (/^<0x/.test(part) ? part : null);
    return sign ? element("span", { class: "sign" }, sign) : part;
  });
}

/** A function that runs another one after the last of several calls in a row. */
export function afterwards(run, milliseconds = 250) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, milliseconds);
  };
}

/** Let the browser draw and listen. */
export const pause = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds));
