// Drawings of lines: norms over a distance, and the tree of a beam.

const SVG = "http://www.w3.org/2000/svg";
const SERIES = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

/** An element of a drawing. */
function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style")
      node.style.cssText = value; // an attribute would be refused by the policy of the page
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A point that says its lines of text when the mouse or the keyboard is on it. */
function telling(node, lines) {
  node.addEventListener("pointermove", (event) => showTip(lines, event.clientX, event.clientY));
  node.addEventListener("pointerleave", () => showTip(null));
  node.addEventListener("focus", () => {
    const box = node.getBoundingClientRect();
    showTip(lines, box.right - 14, box.bottom - 18);
  });
  node.addEventListener("blur", () => showTip(null));
  return node;
}

/** Lines on a logarithmic scale: `series` of `{name, points: [{x, y, lines}]}`. */
function logChart({ title, series, width, xName, yName }) {
  const room = { left: 58, right: 12, top: 10, bottom: 40 };
  const [wide, high] = [clamp(width, 260, 860), 280];
  const all = series.flatMap((one) => one.points);
  const floor = Math.min(...all.map((point) => point.y).filter((value) => value > 0)) || 1e-12;
  const decades = [
    Math.floor(Math.log10(floor)),
    Math.ceil(Math.log10(Math.max(...all.map((point) => point.y), floor * 10))),
  ];
  const far = Math.max(1, ...all.map((point) => point.x));
  const x = (value) => room.left + ((far - value) / far) * (wide - room.left - room.right);
  const y = (value) =>
    room.top +
    ((decades[1] - Math.log10(Math.max(value, 10 ** decades[0]))) / Math.max(1, decades[1] - decades[0])) *
      (high - room.top - room.bottom);
  const every = Math.max(1, Math.ceil((decades[1] - decades[0]) / 6));
  const grid = range(decades[1] - decades[0] + 1)
    .filter((step) => step % every === 0)
    .map((step) => {
      const value = 10 ** (decades[0] + step);
      return [
        draw("line", { class: "grid", x1: room.left, x2: wide - room.right, y1: y(value), y2: y(value) }),
        draw("text", { x: room.left - 6, y: y(value) + 4, "text-anchor": "end" }, power(decades[0] + step)),
      ];
    });
  const ticks = range(far + 1)
    .filter((step) => step % Math.max(1, Math.ceil(far / 8)) === 0)
    .map((step) => draw("text", { x: x(step), y: high - room.bottom + 16, "text-anchor": "middle" }, step));
  const lines = series.map(({ name, points }, index) => {
    const style = `stroke: var(${SERIES[index % SERIES.length]}); fill: var(${SERIES[index % SERIES.length]})`;
    const dash = DASHES[Math.floor(index / SERIES.length) % DASHES.length];
    const dots = points.map((point, place) =>
      telling(
        draw("circle", {
          cx: x(point.x),
          cy: y(point.y),
          r: points.length > 60 ? 2 : 4,
          style,
          tabindex: place === points.length - 1 ? 0 : -1,
          role: "img",
          "aria-label": point.lines.join(" · "),
        }),
        point.lines,
      ),
    );
    dots.forEach((dot, place) =>
      dot.addEventListener("keydown", (event) => {
        const next = dots[place + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? NaN)];
        if (!next || event.shiftKey) return;
        event.stopPropagation();
        event.preventDefault();
        next.focus();
      }),
    );
    return draw(
      "g",
      { role: "group", "aria-label": name },
      draw("polyline", {
        points: points.map((point) => `${x(point.x)},${y(point.y)}`).join(" "),
        style: `${style}; fill: none`,
        "stroke-dasharray": dash,
      }),
      dots,
    );
  });
  const axes = [
    draw("text", { x: (wide + room.left) / 2, y: high - 6, "text-anchor": "middle" }, xName),
    draw(
      "text",
      { transform: `translate(13 ${(high - room.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      yName,
    ),
  ];
  const keys = make(
    "ul",
    { class: "keys" },
    series.map(({ name }, index) =>
      make(
        "li",
        {},
        draw(
          "svg",
          { class: "swatch", width: 26, height: 6, "aria-hidden": "true" },
          draw("line", {
            x1: 0,
            x2: 26,
            y1: 3,
            y2: 3,
            style: `stroke: var(${SERIES[index % SERIES.length]}); stroke-width: 3`,
            "stroke-dasharray": DASHES[Math.floor(index / SERIES.length) % DASHES.length],
          }),
        ),
        name,
      ),
    ),
  );
  return make(
    "figure",
    { class: "lines" },
    make("figcaption", {}, make("span", { class: "title" }, title)),
    draw(
      "svg",
      { width: wide, height: high, viewBox: `0 0 ${wide} ${high}`, role: "group", "aria-label": title },
      grid,
      ticks,
      lines,
      axes,
    ),
    keys,
  );
}

/** The tree of a beam: a column for each step, the best beginning on top. */
function beamTree({ nodes, title, describe }) {
  const [wide, high] = [104, 46];
  const columns = new Map();
  for (const node of nodes) columns.set(node.step, [...(columns.get(node.step) ?? []), node]);
  const answer = new Set();
  const byId = new Map(nodes.map((node) => [node.id, node]));
  for (let node = nodes.find((one) => one.rank === 0); node; node = byId.get(node.parent)) answer.add(node.id);
  const places = new Map();
  for (const [step, column] of columns) {
    column
      .sort((one, other) => other.score - one.score)
      .forEach((node, lane) => places.set(node.id, { x: 8 + step * wide, y: 8 + lane * high }));
  }
  const depth = Math.max(...columns.keys()) + 1;
  const lanes = Math.max(...[...columns.values()].map((column) => column.length));
  const links = nodes
    .filter((node) => node.parent !== null && places.has(node.parent))
    .map((node) => {
      const [from, to] = [places.get(node.parent), places.get(node.id)];
      const right = from.x + wide - 20;
      const middle = (right + to.x) / 2;
      const best = answer.has(node.id) ? " best" : "";
      return draw("path", {
        class: `link${best}`,
        d: `M${right},${from.y + 19} C${middle},${from.y + 19} ${middle},${to.y + 19} ${to.x},${to.y + 19}`,
      });
    });
  const boxes = nodes.map((node) => {
    const { x, y } = places.get(node.id);
    const kind = `${answer.has(node.id) ? " best" : ""}${node.ended ? " ended" : ""}`;
    const text = visible(node.token);
    const short = [...text].length > 9 ? `${[...text].slice(0, 8).join("")}…` : text;
    return telling(
      draw(
        "g",
        {
          class: `node${kind}`,
          tabindex: answer.has(node.id) ? 0 : -1,
          role: "img",
          "aria-label": describe(node).join(" · "),
          "data-id": node.id,
          transform: `translate(${x} ${y})`,
        },
        draw("rect", { width: wide - 20, height: 38, rx: 6 }),
        draw("text", { x: (wide - 20) / 2, y: 16, "text-anchor": "middle", class: "word" }, `\u2068${short}\u2069`),
        draw(
          "text",
          { x: (wide - 20) / 2, y: 31, "text-anchor": "middle", class: "score" },
          `${node.rank === null ? "" : `#${node.rank + 1} `}${number(node.score)}`,
        ),
      ),
      describe(node),
    );
  });
  boxes.forEach((box, index) =>
    box.addEventListener("keydown", (event) => walkTree(event, nodes[index], { boxes, nodes, columns, byId })),
  );
  return make(
    "figure",
    { class: "tree" },
    make("figcaption", {}, make("span", { class: "title" }, title)),
    make(
      "div",
      { class: "scroll" },
      draw("svg", { width: depth * wide, height: lanes * high + 12, role: "group", "aria-label": title }, links, boxes),
    ),
  );
}

/** Walk from a beginning to the one before or after it, or to its neighbours of the same step. */
function walkTree(event, node, { boxes, nodes, columns, byId }) {
  if (event.shiftKey) return;
  const column = columns.get(node.step);
  const lane = column.indexOf(node);
  const next = {
    ArrowLeft: () => byId.get(node.parent),
    ArrowRight: () => (columns.get(node.step + 1) ?? []).find((other) => other.parent === node.id),
    ArrowUp: () => column[lane - 1],
    ArrowDown: () => column[lane + 1],
  }[event.key];
  if (!next) return;
  event.preventDefault();
  event.stopPropagation();
  const found = next();
  if (found) boxes[nodes.indexOf(found)].focus();
}
