// Two confusion matrices side by side and what changed between them.
function startConfusion(host, data) {
  const entries = data.entries.filter((entry) => entry.confusion);
  const state = { a: 0, b: entries.length - 1, shares: false };
  const shown = make("div", { class: "matrices" });
  const again = () => shown.replaceChildren(...matrices(entries[state.a], entries[state.b], state.shares));
  const names = entries.map((entry) => entry.name);
  const controls = make("div", { class: "controls" },
    chooser("First", names, state.a, (i) => { state.a = i; again(); }),
    chooser("Second", names, state.b, (i) => { state.b = i; again(); }),
    chooser("Cells", ["images", "share of the row"], 0, (i) => { state.shares = i === 1; again(); }));
  host.append(controls, shown);
  again();
}

function matrices(a, b, wanted) {
  const sameClasses = a.classes.join("\n") === b.classes.join("\n");
  const sameImages = a.images !== null && a.images === b.images;
  const shares = wanted || !sameImages;
  const [first, second] = [a, b].map((entry) => cellsOf(entry, shares));
  const parts = [matrix(a.name, a, first, shares, plain), matrix(b.name, b, second, shares, plain)];
  if (!sameClasses) return [...parts, make("p", { class: "notes" }, "Other classes: no difference can be taken.")];
  const change = second.map((row, i) => row.map((value, j) => value - first[i][j]));
  const nothing = change.every((row) => row.every((value) => value === 0)) ? ": nothing" : "";
  const caption = `Second minus first${nothing}` + (sameImages ? "" : ", of shares: not known to be the same images");
  return [...parts, matrix(caption, a, change, shares, changed)];
}

function cellsOf(entry, shares) {
  if (!shares) return entry.confusion;
  return entry.confusion.map((row) => {
    const sum = row.reduce((total, count) => total + count, 0);
    return row.map((count) => (sum ? count / sum : 0));
  });
}

function matrix(caption, entry, cells, shares, look) {
  const most = Math.max(...cells.map((row) => Math.max(...row.map(Math.abs)))) || 1;
  const heads = entry.classes.map((name) => make("th", { scope: "col" }, make("span", {}, name)));
  const head = make("tr", {}, make("td", { class: "corner" }, "label ↓ predicted →"), ...heads);
  const rows = cells.map((row, i) => {
    const sum = row.reduce((total, value) => total + Math.abs(value), 0) || 1;
    const places = row.map((value, j) => {
      const { text, cls, strength } = look(value, i === j, shares, sum, most);
      const said = `labelled ${entry.classes[i]}, predicted ${entry.classes[j]}: ${text || 0}`;
      const cell = make("td", { class: cls, title: said }, text);
      cell.style.setProperty("--s", `${Math.round(strength * 100)}%`);
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row", title: entry.classes[i] }, entry.classes[i]), ...places);
  });
  const table = make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("figure", { class: "scroll", tabindex: 0 }, make("figcaption", {}, caption), table);
}

function plain(value, onDiagonal, shares, sum) {
  const text = shares ? (value ? value.toFixed(2) : "") : value ? String(value) : "";
  return { text, cls: onDiagonal ? "right" : "wrong", strength: value / sum };
}

// More on the diagonal is better, more beside it worse.
function changed(value, onDiagonal, shares, sum, most) {
  const size = Math.abs(value);
  const text = size < (shares ? 0.005 : 0.5) ? "" : (value > 0 ? "+" : "−") + (shares ? size.toFixed(2) : size);
  return { text, cls: (value > 0) === onDiagonal ? "right" : "wrong", strength: size / most };
}
