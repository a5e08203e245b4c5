// The page: its sections, the bar of steps, keys, language and theme.

const SECTIONS = [
  { id: "overview", build: overview },
  { id: "embedding", build: embeddingSection },
  { id: "encoder", build: () => recurrentSection("encoder") },
  { id: "attention", build: attentionSection },
  { id: "decoder", build: () => recurrentSection("decoder") },
  { id: "distribution", build: distributionSection },
  { id: "factors", build: factorSection },
  { id: "beam", build: beamSection },
  { id: "pooling", build: poolingSection },
  { id: "classes", build: classSection },
  { id: "value", build: valueSection },
  { id: "tags", build: tagSection },
  { id: "gradient", build: gradientSection },
  { id: "arrays", build: arraySection },
];

const STEPPED = arrays.has("decoder.outputs") || arrays.has("attention.context") || data.top ? "target" : "source";

const numSteps = () => labels(STEPPED)?.length ?? arrays.get("encoder.outputs")?.shape[0] ?? 0;

const stepNow = () => (STEPPED === "target" ? page.step : page.position);

let contentRoom = 640;

const contentWidth = () => contentRoom;

/** Change what is shown, and show it. */
function change(values) {
  Object.assign(page, values);
  const focus = document.activeElement?.closest(".stepper") && document.activeElement.getAttribute("data-focus");
  refresh();
  if (focus) focusOn(focus);
}

let waiting = []; // sections that are still to be made anew

/** Make the sections anew: those in sight at once, the others one after the other when there is time. */
function refresh() {
  document.querySelector(".stepper")?.replaceWith(stepper());
  const sections = [...document.querySelectorAll("main > section")];
  const isSeen = (section) => {
    const { top, bottom } = section.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  };
  const isNow = sections.map(isSeen);
  sections.filter((_, index) => isNow[index]).forEach(rebuild);
  const isIdle = waiting.length === 0;
  waiting = sections.filter((_, index) => !isNow[index]);
  if (isIdle) rebuildNext();
}

function rebuildNext() {
  if (waiting.length) setTimeout(() => (rebuild(waiting.shift()), rebuildNext()));
}

/** How far to scroll so that a mark is in sight: as far as before where it is. */
function inSight(before, mark, room) {
  const isSeen = mark === undefined || (Number(mark) >= before && Number(mark) <= before + room - 120);
  return isSeen ? before : Math.max(0, Number(mark) - room / 2);
}

/** Make a section anew, and say whether it has something; what was opened and scrolled in it, and the focus, stay. */
function rebuild(section) {
  const body = section.querySelector(".body");
  if (section.id === "arrays" && body.hasChildNodes()) return true; // it holds no step
  const focus = body.contains(document.activeElement) ? document.activeElement.getAttribute("data-focus") : null;
  const open = [...body.querySelectorAll("details")].map((one) => one.open);
  const scrolled = [...body.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
  const { build } = SECTIONS.find(({ id }) => id === section.id);
  const made = build();
  if (made === null) return false;
  body.replaceChildren(...[made].flat(Infinity).filter(Boolean));
  for (const [index, one] of body.querySelectorAll("details").entries()) one.open = open[index] ?? one.open;
  for (const [index, one] of body.querySelectorAll(".scroll").entries()) {
    const [left, top] = scrolled[index] ?? [0, 0];
    const [newLeft, newTop] = [inSight(left, one.dataset.left, contentWidth()), inSight(top, one.dataset.top, TALLEST)];
    if (newLeft) one.scrollLeft = newLeft;
    if (newTop) one.scrollTop = newTop;
  }
  if (focus) body.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  return true;
}

const MOST_ELEMENTS = 15000; // that are laid out at once; of more only those in sight

const titleOf = (id) => (id === "embedding" && !has("source.ids") ? say("section.vectors") : say(`section.${id}`));

/** Make the whole page anew; what the model has nothing for is left out. */
function render() {
  document.documentElement.lang = page.language;
  document.documentElement.toggleAttribute("data-dark", isDark());
  document.title = `${say("title")}: ${data.source || data.target}`;
  const sections = SECTIONS.map(({ id }) =>
    make(
      "section",
      { id, "aria-labelledby": `${id}-title` },
      make("h2", { id: `${id}-title` }, titleOf(id)),
      make("div", { class: "body" }),
    ),
  );
  const nav = make("nav", { "aria-label": say("contents") });
  document.body.replaceChildren(
    make("a", { class: "skip", href: "#main" }, say("skip")),
    header(),
    stepper(),
    make("div", { class: "columns" }, nav, make("main", { id: "main" }, sections)),
    footer(),
    tip,
    make("div", { id: "announce", class: "hidden", "aria-live": "polite" }),
  );
  measure();
  waiting = [];
  for (const section of sections) if (!rebuild(section)) section.remove();
  const isLarge = document.querySelectorAll("main *").length > MOST_ELEMENTS;
  document.getElementById("main").classList.toggle("large", isLarge);
  const links = sections.filter((section) => section.isConnected).map(({ id }) => [id, titleOf(id)]);
  nav.append(
    make(
      "ol",
      {},
      links.map(([id, title]) => make("li", {}, make("a", { href: `#${id}` }, title))),
    ),
  );
}

const measure = () => {
  contentRoom = Math.max(240, (document.querySelector("main .body")?.clientWidth ?? 640) - 2);
};

function header() {
  const other = page.language === "en" ? "ko" : "en";
  return make(
    "header",
    {},
    make("div", {}, make("p", { class: "brand" }, "seq2att explain"), make("h1", {}, say("title"))),
    make(
      "div",
      { class: "buttons" },
      make(
        "button",
        {
          type: "button",
          lang: other,
          "data-focus": "language",
          onclick: () => {
            page.language = other;
            render();
            focusOn("language");
          },
        },
        words[other]["languageName"],
      ),
      make(
        "button",
        {
          type: "button",
          "data-focus": "theme",
          onclick: () => {
            page.theme = isDark() ? "light" : "dark";
            render();
            focusOn("theme");
          },
        },
        say(isDark() ? "light" : "dark"),
      ),
    ),
  );
}

const focusOn = (key) => document.querySelector(`[data-focus="${key}"]`)?.focus();

/** The bar that goes through the steps of the decoder, or the positions of the source. */
function stepper() {
  const [count, now] = [numSteps(), stepNow()];
  if (count < 1) return make("div", { class: "stepper", hidden: true });
  const label = labels(STEPPED)?.[now] ?? "";
  const word = say(STEPPED === "target" ? "stepOf" : "positionOf", { step: now + 1, count });
  return make(
    "div",
    { class: "stepper", role: "group", "aria-label": say("steps") },
    make(
      "button",
      {
        type: "button",
        "data-focus": "back",
        disabled: now === 0,
        "aria-label": say("stepBack"),
        onclick: () => go(now - 1),
      },
      "◀",
    ),
    make("input", {
      type: "range",
      min: 1,
      max: count,
      value: now + 1,
      "data-focus": "range",
      "aria-label": say("steps"),
      "aria-valuetext": `${word}: ${visible(label)}`,
      oninput: (event) => go(Number(event.target.value) - 1),
    }),
    make(
      "button",
      {
        type: "button",
        "data-focus": "forward",
        disabled: now === count - 1,
        "aria-label": say("stepForward"),
        onclick: () => go(now + 1),
      },
      "▶",
    ),
    make("span", { class: "where" }, word, " ", token(label)),
    make("span", { class: "keyhint" }, say("keyHint")),
  );
}

function go(step) {
  const next = clamp(step, 0, numSteps() - 1);
  if (next === stepNow()) return;
  change(STEPPED === "target" ? atStep(next) : { position: next });
  const word = say(STEPPED === "target" ? "stepOf" : "positionOf", { step: next + 1, count: numSteps() });
  document.getElementById("announce").textContent = `${word}: ${visible(labels(STEPPED)?.[next] ?? "")}`;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || (event.target instanceof HTMLInputElement && !event.shiftKey))
    return;
  if (event.key === "ArrowRight") go(stepNow() + 1);
  else if (event.key === "ArrowLeft") go(stepNow() - 1);
  else if (event.shiftKey && event.key === "Home") go(0);
  else if (event.shiftKey && event.key === "End") go(numSteps() - 1);
  else {
    if (event.key === "Escape") showTip(null);
    return;
  }
  event.preventDefault();
});

/** A step, and the token of the source that it looked at most. */
function atStep(step) {
  const row = values("attention.weights")?.[step];
  return row?.length ? { step, position: row.indexOf(Math.max(...row)) } : { step };
}

const footer = () => make("footer", {}, make("p", {}, say("keysText")), make("p", {}, say("digitsText")));

let resized = 0;

addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    const before = contentRoom;
    measure();
    if (contentRoom !== before) refresh();
  }, 150);
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (page.theme === null) render();
});

Object.assign(page, STEPPED === "target" ? atStep(0) : {});

render();
