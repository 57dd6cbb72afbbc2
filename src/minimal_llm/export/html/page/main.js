// Loads the model from the page and starts the views.

import { setUpAbout } from "./about.js";
import { setUpAttention } from "./attention.js";
import { byId } from "./dom.js";
import { setUpEmbeddings } from "./embeddings.js";
import { Engine } from "./engine.js";
import { generate } from "./generation.js";
import { setUpLooking } from "./look.js";
import { SafeStream, SafetyFilter } from "./safety.js";
import { TextStream, Tokenizer } from "./tokenizer.js";
import { setUpTraining } from "./training.js";
import { setUpWriting } from "./write.js";

const block = (name) => byId(`data-${name}`).textContent;

function bytesOf(base64) {
  const characters = atob(base64);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

async function load() {
  const model = JSON.parse(block("model"));
  const packed = JSON.parse(block("tokenizer"));
  const engine = await Engine.load(model, bytesOf(block("weights")), bytesOf(block("kernel")));
  const tokenizer = new Tokenizer({ ...packed, scores: new Float32Array(bytesOf(packed.scores).buffer) });
  let filter = null; // compiled when it is first needed
  const rules = () => (filter ??= new SafetyFilter(JSON.parse(block("safety"))));
  const [map, run] = [JSON.parse(block("map")), JSON.parse(block("run"))];
  return { model, shape: model.architecture, engine, tokenizer, rules, map, run, generate, SafeStream, TextStream };
}

function setUpTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
    byId("theme").setAttribute("aria-label", dark ? "Light theme" : "Dark theme");
  };
  system.addEventListener("change", () => set(system.matches));
  byId("theme").addEventListener("click", () => set(document.documentElement.dataset.theme !== "dark"));
  byId("theme").hidden = false;
  set(system.matches);
}

/** The tabs: arrow keys move between them; the address has the current one. */
function setUpTabs(opened) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panelOf = (tab) => tab.getAttribute("aria-controls");
  const open = (tab) => {
    for (const one of tabs) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      byId(panelOf(one)).hidden = one !== tab;
    }
    history.replaceState(null, "", `#${panelOf(tab)}`);
    opened[panelOf(tab)]?.();
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const next = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: -1 }[key];
      if (next === undefined) return;
      const target = tabs.at(next % tabs.length);
      target.focus();
      open(target);
    });
  });
  open(tabs.find((tab) => `#${panelOf(tab)}` === location.hash) ?? tabs[0]);
  return (name) => open(tabs.find((tab) => panelOf(tab) === name));
}

async function start() {
  setUpTheme();
  const lens = await load();
  window.minimalLlm = lens; // for the console
  byId("needs").hidden = true;
  byId("app").hidden = false;
  setUpAbout(lens);
  setUpWriting(lens);
  const look = setUpLooking(lens);
  const attention = setUpAttention(lens);
  const embeddings = setUpEmbeddings(lens);
  const training = setUpTraining(lens);
  const example = "Once upon a time there was a king who had a daughter.";
  const fill = (view) => {
    if (!view.text()) view.set(example);
    view.read();
  };
  const open = setUpTabs({
    look: () => fill(look),
    attention: () => fill(attention),
    embeddings: embeddings.open,
    training: training.open,
  });
  lens.lookAt = (text) => {
    look.set(text);
    open("look");
  };
}

start().catch((error) => {
  byId("needs").textContent = "This browser cannot run the page: it needs JavaScript and WebAssembly with SIMD "
    + `(Chrome or Edge 92, Firefox 90, Safari 16.4, or newer). It said: ${error.message}`;
  byId("app").hidden = true;
});
