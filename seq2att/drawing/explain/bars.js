// Numbers in rows: bars, and tables that scroll.

/** The numbers of a map as a table, made when it is opened. */
function table(options, cut) {
  const rows = Math.max(1, Math.min(cut.rows, Math.floor(MOST_NUMBERS / Math.max(1, cut.columns))));
  const fill = (event) => {
    if (!event.target.open || event.target.querySelector("table")) return;
    const heads = range(cut.columns).map((column) =>
      make("th", { scope: "col" }, options.columns.labels ? token(options.columns.labels[column]) : column + 1),
    );
    const lines = range(rows).map((row) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, options.rows.labels ? token(options.rows.labels[row]) : row + 1),
        range(cut.columns).map((column) => make("td", {}, number(options.values[row][column]))),
      ),
    );
    const note = rows < cut.rows ? make("p", { class: "note" }, say("cutTable", { rows, allRows: cut.rows })) : null;
    event.target.append(
      ...[
        note,
        make(
          "div",
          { class: "scroll tall", tabindex: 0, role: "region", "aria-label": options.title },
          make(
            "table",
            { class: "numbers" },
            make("thead", {}, make("tr", {}, make("th", {}, `${options.rows.name} \\ ${options.columns.name}`), heads)),
            make("tbody", {}, lines),
          ),
        ),
      ].filter(Boolean),
    );
  };
  return make("details", { ontoggle: fill }, make("summary", {}, say("numbers")));
}

/**
 * Bars with their numbers: `rows` of `{label, value, text, note}`; beyond MOST_BARS the largest ones, in their order.
 *
 * @param {object} options title, rows, key, heads: of the columns, picked: index, pick(index), isToken
 */
function bars(options) {
  const { rows } = options;
  const shown =
    rows.length <= MOST_BARS
      ? range(rows.length)
      : range(rows.length)
          .sort((one, other) => Math.abs(rows[other].value) - Math.abs(rows[one].value))
          .slice(0, MOST_BARS)
          .sort((one, other) => one - other);
  const least = Math.min(0, ...shown.map((index) => rows[index].value).filter(Number.isFinite));
  const most = Math.max(0, ...shown.map((index) => rows[index].value).filter(Number.isFinite), options.reach ?? 0);
  const span = most - least || 1;
  const line = (index) => {
    const { label, value, text, note } = rows[index];
    const width = Number.isFinite(value) ? (Math.abs(value) / span) * 100 : 0;
    const start = ((Math.min(value, 0) - least) / span) * 100;
    const name = options.isPlain ? label : token(label);
    const picked = index === options.picked;
    return make(
      "tr",
      { class: picked ? "picked" : null },
      make(
        "th",
        { scope: "row" },
        options.pick
          ? make(
              "button",
              {
                type: "button",
                tabindex: picked || (options.picked === undefined && index === shown[0]) ? 0 : -1,
                "aria-pressed": String(picked),
                "data-focus": `bar-${options.key}-${index}`,
                onclick: () => options.pick(index),
              },
              name,
            )
          : name,
      ),
      make(
        "td",
        { class: "bar", "aria-hidden": "true" },
        make("span", { class: value < 0 ? "negative" : null, style: { left: `${start}%`, width: `${width}%` } }),
      ),
      make("td", { class: "value" }, text ?? number(value)),
      note === undefined ? null : make("td", { class: "note" }, note),
    );
  };
  const body = make("tbody", {}, shown.map(line));
  if (options.pick) body.addEventListener("keydown", (event) => stepBars(event, shown, options));
  return make(
    "div",
    { class: "barbox" },
    rows.length > shown.length
      ? make("p", { class: "note" }, say("cutBars", { shown: shown.length, all: rows.length }))
      : null,
    make(
      "div",
      {
        class: "scroll tall",
        ...(rows.length > 12 ? { tabindex: 0, role: "region", "aria-label": options.title } : {}),
      },
      make(
        "table",
        { class: "bars" },
        make("caption", {}, options.title),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            options.heads.map((head, index) =>
              make("th", { scope: "col", class: index === 0 ? null : "value", colspan: index === 1 ? 2 : null }, head),
            ),
          ),
        ),
        body,
      ),
    ),
  );
}

function stepBars(event, shown, options) {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || event.shiftKey) return;
  const place = clamp(shown.indexOf(options.picked) + step, 0, shown.length - 1);
  event.preventDefault();
  event.stopPropagation();
  options.pick(shown[place]);
  document.querySelector(`[data-focus="bar-${options.key}-${shown[place]}"]`)?.focus();
}

/**
 * A table that scrolls: `heads` of the columns, the first `texts` of which hold texts, the others numbers; `rows` of
 * `{cells, picked}`, whose first cell names the row.
 */
function dataTable({ title, heads, rows, texts = 2, kind = "factors" }) {
  const kindOf = (index) => (index < texts ? null : "value");
  const line = ({ cells, picked }) =>
    make(
      "tr",
      { class: picked ? "picked" : null },
      cells.map((cell, index) =>
        index === 0 ? make("th", { scope: "row" }, cell) : make("td", { class: kindOf(index) }, cell),
      ),
    );
  const names = heads.map((head, index) => make("th", { scope: "col", class: kindOf(index) }, head));
  return make(
    "div",
    { class: "scroll tall", tabindex: 0, role: "region", "aria-label": title },
    make(
      "table",
      { class: kind },
      make("caption", {}, title),
      make("thead", {}, make("tr", {}, names)),
      make("tbody", {}, rows.map(line)),
    ),
  );
}

/** A button with the number of a step, which chooses it. */
const stepButton = (key, step) =>
  make(
    "button",
    { type: "button", "data-focus": `${key}-${step}`, onclick: () => change(atStep(step)) },
    String(step + 1),
  );
