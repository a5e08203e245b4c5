// Charts: heat maps, bars, lines and the tree of a beam. Every value is read by mouse, by finger and by keyboard, and
// stands in a table as well.

const MOST_CELLS = 4000; // rows or columns of one map
const MOST_BARS = 150;

const MOST_NUMBERS = 20000; // of a table

const SEQUENTIAL = {
  light: ["#f1f5f9", "#c3daee", "#6caad9", "#1f6cb0", "#0a2f5c"],
  dark: ["#20242b", "#173f63", "#1f6cb0", "#62b0e8", "#def2ff"],
};

const DIVERGING = {
  light: ["#7f2704", "#d95f0e", "#f5c199", "#f3f3f0", "#a8cbe8", "#2f7dc0", "#08306b"],
  dark: ["#ffc79b", "#e0752d", "#6d3716", "#23262c", "#1c486f", "#4193d6", "#b9deff"],
};

const isDark = () => (page.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

const palette = (scale) => (scale.low < 0 ? DIVERGING : SEQUENTIAL)[isDark() ? "dark" : "light"];

/** The scale of some rows: from 0, or both ways from 0; at least as far as `reach`. */
function scaleOf(rows, { signed = rows.flat().some((value) => value < 0), reach = 0 } = {}) {
  const most =
    Math.max(largest(rows.map((row) => row.filter((value) => Number.isFinite(value) && value > FORBIDDEN))), reach) ||
    1;
  return { low: signed ? -most : 0, high: most };
}

const SHADES = 256;

/** The shades of a scale, from its lowest to its highest value: `[red, green, blue]` each. */
function shadesOf(scale) {
  const colors = palette(scale).map((color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16)));
  return range(SHADES).map((shade) => {
    const place = (shade / (SHADES - 1)) * (colors.length - 1);
    const [below, above] = [colors[Math.floor(place)], colors[Math.ceil(place)]];
    return below.map((low, index) => Math.round(low + (above[index] - low) * (place % 1)));
  });
}

/** The shade of a value, from `shadesOf`. */
function shadeOf(value, scale, shades) {
  if (value < FORBIDDEN) return isDark() ? [70, 74, 82] : [160, 164, 170];
  const share = Number.isFinite(value) ? (value - scale.low) / (scale.high - scale.low) : 0;
  return shades[clamp(Math.round(share * (SHADES - 1)), 0, SHADES - 1)];
}

const tip = make("div", { id: "tip", "aria-hidden": "true", hidden: true });

/** Show lines of text beside a place of the window; null hides them. */
function showTip(lines, x = 0, y = 0) {
  tip.hidden = lines === null;
  if (lines === null) return;
  tip.replaceChildren(
    ...lines.map((line, index) => make("div", { class: index === lines.length - 1 ? "code" : null }, line)),
  );
  const box = tip.getBoundingClientRect();
  tip.style.left = `${clamp(x + 14, 4, Math.max(4, innerWidth - box.width - 4))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18}px`;
}

/** The address of a number in Python: `explanation["name"][2, 5]`. */
const address = (name, indexes) => `["${name}"]${indexes.length ? `[${indexes.join(", ")}]` : ""}`;

/**
 * A heat map of `values` (rows of columns).
 *
 * @param {object} options
 *   title: what is shown; name: of the array; rows, columns: `{name, labels}` where labels are texts or null;
 *   values; scale; width: room in pixels; index(row, column): where the number stands in the array;
 *   row, column: what is marked; startRow: where the keyboard begins; path: a column's row, for each column;
 *   pick(row, column): what a click does;
 *   shapeOf: what the caption says of the shape; low: draw flat rows.
 */
function heatMap(options) {
  const cut = {
    rows: Math.min(options.values.length, MOST_CELLS),
    columns: Math.min(options.values[0]?.length ?? 0, MOST_CELLS),
  };
  const size = cellSize(options, cut);
  const canvas = make("canvas", { "aria-hidden": "true" });
  const field = make(
    "div",
    {
      class: "field",
      tabindex: 0,
      role: "application",
      "aria-roledescription": say("heatMap"),
      "aria-label": summary(options),
      "data-focus": `map-${options.key ?? options.name}`,
      style: { width: `${size.width * cut.columns}px`, height: `${size.height * cut.rows}px` },
    },
    canvas,
    marks(options, size, cut),
  );
  paint(canvas, options, size, cut);
  const readout = make("p", { class: "readout", "aria-live": "polite" });
  follow(field, readout, options, size, cut);
  const head =
    options.columns.labels && columnHeads(options.columns.labels.slice(0, cut.columns), size.width, options.column);
  const names =
    options.rows.labels &&
    rowHeads(options.rows.labels.slice(0, cut.rows), size.height, options.row, namesWidth(options, cut));
  return make(
    "figure",
    { class: "map" },
    make("figcaption", {}, make("span", { class: "title" }, options.title), " ", options.shapeOf ?? null),
    make(
      "div",
      scrollTo(options, size, cut),
      make(
        "div",
        { class: "sheet" },
        head && names && head && make("div"),
        head,
        names,
        field,
        options.parts ? sizesUnder(options.parts, size.width) : null,
      ),
    ),
    make("div", { class: "under" }, legend(options.scale), readout),
    cutNote(options, cut),
    table(options, cut),
  );
}

const TALLEST = 640; // pixels of a map; a taller one scrolls

/** The box of a map, and where its mark is, which is to be in sight. */
const scrollTo = (options, size, cut) => ({
  class: size.height * cut.rows > TALLEST ? "scroll tall" : "scroll",
  "data-left": Math.round(((options.column ?? 0) + 0.5) * size.width),
  "data-top": Math.round(((options.row ?? 0) + 0.5) * size.height),
});

/** The room that a cell gets, in pixels. */
function cellSize(options, cut) {
  const room = Math.max(120, (options.width ?? 640) - (options.rows.labels ? namesWidth(options, cut) + 8 : 0));
  const fit = Math.floor(room / Math.max(1, cut.columns));
  const columns = Math.max(1, cut.columns);
  const rows = Math.max(1, cut.rows);
  const width = options.columns.labels
    ? clamp(fit, 20, options.isLarge ? 72 : 44)
    : clamp(fit >= 3 ? fit : room / columns, 0.5, 18);
  const height = options.rows.labels
    ? options.isLarge
      ? 28
      : 22
    : options.low
      ? 22
      : rows < 75
        ? clamp(Math.floor(220 / rows), 3, 14)
        : Math.max(1, 320 / rows);
  return { width, height, hasNumbers: Boolean(options.isLarge) && width >= 44 };
}

/** The room that the names of the rows get: their own, at most a third of the page. */
const namesWidth = (options, cut) =>
  clamp(
    Math.max(...options.rows.labels.slice(0, cut.rows).map((label) => textWidth(visible(label)))),
    16,
    Math.min(220, contentWidth() * 0.34),
  );

/** Paint a pixel for each cell, enlarge the picture, and write the numbers where they fit. */
function paint(canvas, options, size, cut) {
  const [wide, high] = [size.width * cut.columns, size.height * cut.rows];
  const ratio = Math.min(window.devicePixelRatio || 1, 16000 / Math.max(1, wide, high));
  canvas.width = Math.max(1, Math.round(wide * ratio));
  canvas.height = Math.max(1, Math.round(high * ratio));
  if (!cut.rows || !cut.columns) return;
  const [shades, picture] = [shadesOf(options.scale), new ImageData(cut.columns, cut.rows)];
  const shadeAt = (row, column) => shadeOf(options.values[row][column], options.scale, shades);
  for (let row = 0; row < cut.rows; row++) {
    for (let column = 0; column < cut.columns; column++) {
      const [shade, place] = [shadeAt(row, column), 4 * (row * cut.columns + column)];
      for (let channel = 0; channel < 3; channel++) picture.data[place + channel] = shade[channel];
      picture.data[place + 3] = 255;
    }
  }
  const small = make("canvas", { width: cut.columns, height: cut.rows });
  small.getContext("2d").putImageData(picture, 0, 0);
  const brush = canvas.getContext("2d");
  brush.scale(ratio, ratio);
  brush.imageSmoothingEnabled = false;
  brush.drawImage(small, 0, 0, wide, high);
  if (Math.min(size.width, size.height) >= 9) paintGaps(brush, size, cut);
  if (size.hasNumbers) writeNumbers(brush, options, size, cut, shadeAt);
}

function paintGaps(brush, size, cut) {
  const [wide, high] = [size.width * cut.columns, size.height * cut.rows];
  for (const row of range(cut.rows)) brush.clearRect(0, (row + 1) * size.height - 1, wide, 1);
  for (const column of range(cut.columns)) brush.clearRect((column + 1) * size.width - 1, 0, 1, high);
}

/** Write the numbers into their cells, dark on bright and bright on dark; what rounds to 0 stays empty. */
function writeNumbers(brush, options, size, cut, shadeAt) {
  Object.assign(brush, { font: "12px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
  for (const row of range(cut.rows)) {
    for (const column of range(cut.columns)) {
      const value = options.values[row][column];
      if (value === null || Math.abs(value) < 0.005) continue;
      const [red, green, blue] = shadeAt(row, column);
      brush.fillStyle = 0.3 * red + 0.59 * green + 0.11 * blue > 130 ? "#15181d" : "#ffffff";
      const text = value < FORBIDDEN ? "✕" : value.toFixed(2).replace("-", "−");
      brush.fillText(text, (column + 0.5) * size.width, (row + 0.5) * size.height);
    }
  }
}

/** What is drawn over the cells: the marked row and column, and a path. */
function marks(options, size, cut) {
  const place = (left, top, width, height, kind) =>
    make("div", {
      class: kind,
      style: { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` },
    });
  const [wide, high] = [size.width * cut.columns, size.height * cut.rows];
  const drawn = [];
  if (options.column !== undefined && options.column < cut.columns)
    drawn.push(place(options.column * size.width, 0, size.width, high, "mark"));
  if (options.row !== undefined && options.row < cut.rows)
    drawn.push(place(0, options.row * size.height, wide, size.height, "mark"));
  for (const [column, row] of (options.path ?? []).entries()) {
    if (column < cut.columns && row < cut.rows)
      drawn.push(place(column * size.width, row * size.height, size.width, size.height, "path"));
  }
  return [...drawn, place(0, 0, size.width, size.height, "cursor")];
}

// Letters that are set upright, and are wide.
const EAST_ASIAN = /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u{20000}-\u{3fffd}]/u;

/** The labels of columns; side by side where they fit, else upright: letters of East Asia below each other. */
function columnHeads(labels, width, marked) {
  const isNarrow = labels.some((label) => textWidth(visible(label)) > width - 2);
  return make(
    "div",
    { class: isNarrow ? "heads upright" : "heads", "aria-hidden": "true" },
    labels.map((label, index) =>
      make(
        "span",
        { class: index === marked ? "marked" : null, style: { width: `${width}px` } },
        token(label, EAST_ASIAN.test(label) ? { class: "token stacked" } : {}),
      ),
    ),
  );
}

/** About how wide a text is, in pixels: letters of East Asia count double. */
const textWidth = (text) => [...text].reduce((total, letter) => total + (EAST_ASIAN.test(letter) ? 13 : 7.5), 0);

function rowHeads(labels, height, marked, width) {
  return make(
    "div",
    { class: "names", "aria-hidden": "true", style: { width: `${width + 8}px` } },
    labels.map((label, index) =>
      make(
        "span",
        { class: index === marked ? "marked" : null, style: { height: `${height}px`, "line-height": `${height}px` } },
        token(label),
      ),
    ),
  );
}

/** Read a cell where the mouse, a finger or the arrow keys are; a click or Enter picks it. */
function follow(field, readout, options, size, cut) {
  const cursor = field.querySelector(".cursor");
  const at = { row: options.row ?? options.startRow ?? 0, column: options.column ?? 0 };
  const look = (row, column) => {
    at.row = clamp(row, 0, cut.rows - 1);
    at.column = clamp(column, 0, cut.columns - 1);
    cursor.style.left = `${at.column * size.width}px`;
    cursor.style.top = `${at.row * size.height}px`;
    return cellLines(options, at.row, at.column);
  };
  const under = (event) => {
    const box = field.getBoundingClientRect();
    return [Math.floor((event.clientY - box.top) / size.height), Math.floor((event.clientX - box.left) / size.width)];
  };
  field.addEventListener("pointermove", (event) => {
    showTip(look(...under(event)), event.clientX, event.clientY);
    field.classList.add("live");
  });
  field.addEventListener("pointerleave", () => {
    showTip(null);
    field.classList.remove("live");
  });
  field.addEventListener("blur", () => {
    readout.textContent = "";
  });
  field.addEventListener("focus", () => {
    readout.textContent = look(at.row, at.column).join(" · ");
  });
  field.addEventListener("click", (event) => {
    readout.textContent = look(...under(event)).join(" · ");
    options.pick?.(at.row, at.column);
  });
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  field.addEventListener("keydown", (event) => {
    if (event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) return;
    const move = moves[event.key];
    if (move) readout.textContent = look(at.row + move[0], at.column + move[1]).join(" · ");
    else if (event.key === "Enter" || event.key === " ") options.pick?.(at.row, at.column);
    else if (event.key === "Escape") field.blur();
    else return;
    cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
    event.preventDefault();
    event.stopPropagation();
  });
}

/** What a cell says: its place in words, its number, its address in Python. */
function cellLines(options, row, column) {
  const index = options.index ?? ((one, other) => [one, other]);
  const value = number(options.values[row]?.[column]);
  return [
    `${options.title}: ${value}`,
    placeOf(options.rows, row),
    placeOf(options.columns, column),
    address(options.name, index(row, column)),
  ].filter(Boolean);
}

const placeOf = (axis, index) =>
  axis.name ? `${axis.name} ${index + 1}${axis.labels ? `: ${visible(axis.labels[index] ?? "")}` : ""}` : "";

function summary(options) {
  const values = options.values.flat();
  const [low, high] = values.reduce(
    ([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity],
  );
  return say("mapSummary", {
    title: options.title,
    rows: options.values.length,
    columns: options.values[0]?.length ?? 0,
    rowName: options.rows.name,
    columnName: options.columns.name,
    low: number(low),
    high: number(high),
  });
}

function legend(scale) {
  const colors = palette(scale);
  return make(
    "div",
    { class: "legend", "aria-hidden": "true" },
    number(scale.low),
    make("span", { style: { background: `linear-gradient(to right, ${colors.join(",")})` } }),
    number(scale.high),
  );
}

/** The parts that a row of numbers is made from, below them. */
const sizesUnder = (parts, width) =>
  make(
    "div",
    { class: "partsof" },
    parts.map(({ name, size }) =>
      make("span", { style: { width: `${size * width}px` }, title: `${name} [${size}]` }, `${name} [${size}]`),
    ),
  );

function cutNote(options, cut) {
  const [rows, columns] = [options.values.length, options.values[0]?.length ?? 0];
  if (cut.rows === rows && cut.columns === columns) return null;
  return make(
    "p",
    { class: "note" },
    say("cutMap", { rows: cut.rows, allRows: rows, columns: cut.columns, allColumns: columns }),
  );
}
