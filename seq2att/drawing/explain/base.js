"use strict";
// The page is made from two blocks of JSON: the numbers of the model, and the words of the page in each language.
// Texts of the model enter the page as text only (textContent), never as HTML.

const data = JSON.parse(document.getElementById("explanation").textContent);
const words = JSON.parse(document.getElementById("words").textContent);

const page = {
  language: document.documentElement.lang in words ? document.documentElement.lang : "en",
  theme: null, // null: what the system prefers
  step: 0, // of the decoder
  position: 0, // of the source, whose numbers are written out
  unit: 0, // that is computed by hand
  head: 0, // of the attention
  layer: {}, // by the part of the model
};

/** A text of the page in its language; `{name}` in it is replaced. */
function say(key, values = {}) {
  const text = words[page.language][key];
  if (text === undefined) throw new Error(`no words for ${key}`);
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** An element with attributes, listeners (`onclick`) and children: elements or texts; null is left out. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const VISIBLE = { " ": "␣", "\t": "⇥", "\n": "⏎", "\r": "␍" };

const JAMO = {
  0x1100: "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ",
  0x1161: "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ",
  0x11a8: "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ",
};

/** A token with visible spaces; a lone part of a Hangul syllable as the letter, a lone combining mark with a base. */
function visible(token) {
  for (const [start, letters] of Object.entries(JAMO)) {
    const letter = token.length === 1 && letters[token.charCodeAt(0) - start];
    if (letter) return letter;
  }
  const shown = token.replace(/[ \t\n\r]/g, (space) => VISIBLE[space]);
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown || "∅";
}

/** A token as an element that keeps its own direction of writing. */
function token(text, attributes = {}) {
  return make(
    "bdi",
    { class: "token", title: [...text].length > 12 ? visible(text) : null, ...attributes },
    visible(text),
  );
}

const FORBIDDEN = -1e8; // below it a score says that the rules of tags forbid this

/** A number by four digits. */
function number(value) {
  if (value === null || value === undefined) return "–";
  if (value < FORBIDDEN) return say("forbidden");
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "NaN";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value).replace("-", "−");
  const size = Math.abs(value);
  if (size >= 1e-4 && size < 1e6) {
    const digits = size >= 1000 ? 1 : size >= 100 ? 2 : size >= 10 ? 3 : 4;
    return value.toFixed(digits).replace("-", "−");
  }
  const [digits, exponent] = value.toExponential(2).split("e");
  return `${digits.replace("-", "−")}·${power(Number(exponent))}`;
}

/** A power of 10. */
const power = (exponent) =>
  `10${String(exponent).replace(/[-\d]/g, (one) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(one)])}`;

/** A share as per cent. */
function percent(share) {
  if (share >= 0.9995 || share === 0) return `${Math.round(share * 100)} %`;
  return share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A shape, as `[T=3 × S=5]`. */
function shape(parts) {
  const text = Object.entries(parts)
    .map(([name, size]) => `${name} = ${size}`)
    .join(" × ");
  return make("span", { class: "shape" }, `[${text}]`);
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const range = (size) => Array.from({ length: size }, (_, index) => index);
const largest = (rows) => rows.flat(Infinity).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
