// The scatter plot: two axes to choose, intervals, the Pareto front of that choice, a tooltip by pointer and by key.
const MARKS = {
  square: "M-5.5-5.5h11v11h-11z",
  diamond: "M0-7.5 7.5 0 0 7.5-7.5 0z",
  up: "M0-7.5 7 5.5h-14z",
  circle: "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0z",
  down: "M0 7.5 7-5.5h-14z",
  plus: "M-2.4-7h4.8v4.6h4.6v4.8h-4.6v4.6h-4.8v-4.6h-4.6v-4.8h4.6z",
};
const REACH = 28; // pixels from a point at which the pointer still means it
const LABELLED = 14; // more points than this are named by the tooltip alone

function startScatter(host, data) {
  const axes = data.axes;
  const state = { x: data.x, y: data.y };
  let drawn = 0;
  const heading = make("p", { class: "chart-title" });
  const box = make("div", { class: "chart" });
  const tip = make("div", { class: "tip", role: "status", hidden: "" });
  const again = () => {
    drawn = box.clientWidth;
    render(box, heading, tip, data, state);
  };
  const choose = (name, key) =>
    chooser(name, axes.map((axis) => axis.title), axes.findIndex((axis) => axis.key === state[key]), (i) => {
      state[key] = axes[i].key;
      again();
    });
  const controls = make("div", { class: "controls" }, choose("Across", "x"), choose("Up", "y"));
  host.append(controls, heading, box, legend(data));
  new ResizeObserver(() => box.clientWidth !== drawn && again()).observe(box);
  again();
}

function legend(data) {
  const keys = data.groups.map((group) =>
    make("span", { class: "key" }, draw("svg", { viewBox: "-9 -9 18 18", "aria-hidden": "true" }, mark(group)), group.name));
  return make("div", { class: "legend" }, ...keys, make("span", { class: "key" }, "– – best of both axes: none is better on both"));
}

function mark(group) {
  return draw("path", { d: MARKS[group.mark], class: `mark k${group.colour}` });
}

function render(box, heading, tip, data, state) {
  const [xAxis, yAxis] = ["x", "y"].map((key) => data.axes.find((axis) => axis.key === state[key]));
  const shown = data.entries.filter((entry) => entry.figures[xAxis.key] && entry.figures[yAxis.key]);
  const missing = data.entries.length - shown.length;
  heading.textContent = `${yAxis.title} against ${xAxis.title}` + (missing ? ` (${missing} without these figures)` : "");
  tip.hidden = true;
  if (!shown.length) return box.replaceChildren(make("p", {}, "No file has both figures."));
  const width = Math.max(box.clientWidth, 280);
  const height = Math.round(Math.min(460, Math.max(300, width * 0.5)));
  const frame = { left: 62, right: width - 14, top: 12, bottom: height - 46 };
  const ends = (axis) => shown.flatMap(({ figures }) => [figures[axis.key].v, figures[axis.key].lo, figures[axis.key].hi]);
  const x = makeScale(ends(xAxis), frame.left, frame.right);
  const y = makeScale(ends(yAxis), frame.bottom, frame.top);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": heading.textContent });
  svg.append(grid(x, y, frame, xAxis, yAxis));
  const points = shown.map((entry) => {
    const [across, up] = [entry.figures[xAxis.key], entry.figures[yAxis.key]];
    return { entry, across, up, x: x.place(across.v), y: y.place(up.v), group: data.groups[entry.group] };
  });
  const front = paretoFront(points, xAxis, yAxis);
  if (front.length > 1)
    svg.append(draw("polyline", { class: "front", points: front.map((p) => `${p.x},${p.y}`).join(" ") }));
  for (const point of points) svg.append(pointOf(point, x, y));
  if (points.length <= LABELLED) svg.append(labels(points, frame));
  box.replaceChildren(svg, tip);
  listen(svg, tip, points, data, [xAxis, yAxis], width);
}

function grid(x, y, frame, xAxis, yAxis) {
  const group = draw("g", { class: "grid", "aria-hidden": "true" });
  const apart = Math.max(1, Math.ceil((x.ticks.length * 58) / (frame.right - frame.left)));
  x.ticks.forEach(({ value, text }, i) => {
    const at = x.place(value);
    group.append(draw("line", { x1: at, x2: at, y1: frame.top, y2: frame.bottom }));
    if (i % apart === 0) group.append(draw("text", { x: at, y: frame.bottom + 17, "text-anchor": "middle" }, text));
  });
  for (const { value, text } of y.ticks) {
    const at = y.place(value);
    group.append(draw("line", { x1: frame.left, x2: frame.right, y1: at, y2: at }));
    group.append(draw("text", { x: frame.left - 7, y: at + 4, "text-anchor": "end" }, text));
  }
  const named = (axis, scale) => axis.title + (axis.unit ? `, ${axis.unit}` : "") + (scale.logarithmic ? ", log scale" : "");
  const [middle, centre] = [(frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2];
  group.append(
    draw("text", { x: middle, y: frame.bottom + 38, "text-anchor": "middle", class: "name" }, named(xAxis, x)),
    draw("text", { x: -centre, y: 13, transform: "rotate(-90)", "text-anchor": "middle", class: "name" }, named(yAxis, y)));
  return group;
}

function pointOf(point, x, y) {
  const { across, up, group, entry } = point;
  const line = (x1, y1, x2, y2) => draw("line", { x1, y1, x2, y2, class: `arm k${group.colour}` });
  const node = draw("g", { class: "point", tabindex: 0, role: "img", "aria-label": `${entry.name}: ${up.t} against ${across.t}` });
  if (up.lo !== undefined) node.append(line(point.x, y.place(up.lo), point.x, y.place(up.hi)));
  if (across.lo !== undefined) node.append(line(x.place(across.lo), point.y, x.place(across.hi), point.y));
  node.append(draw("g", { transform: `translate(${point.x} ${point.y})` }, mark(group)));
  point.node = node;
  return node;
}

// The points that no other is at least as good as on both axes and better on one; in order of x.
function paretoFront(points, xAxis, yAxis) {
  if (!xAxis.better || !yAxis.better || xAxis.key === yAxis.key) return [];
  const sign = (axis) => (axis.better === "high" ? 1 : -1);
  const [sx, sy] = [sign(xAxis), sign(yAxis)];
  const beats = (a, b) => {
    const [dx, dy] = [sx * (a.across.v - b.across.v), sy * (a.up.v - b.up.v)];
    return dx >= 0 && dy >= 0 && (dx > 0 || dy > 0);
  };
  return points.filter((p) => !points.some((other) => beats(other, p))).sort((a, b) => a.x - b.x);
}

// Names beside their points, each where it covers nothing; one that finds no place is left to the tooltip.
function labels(points, frame) {
  const group = draw("g", { class: "labels", "aria-hidden": "true" });
  const taken = points.map((p) => ({ l: p.x - 8, r: p.x + 8, t: p.y - 8, b: p.y + 8 }));
  const free = (box) => box.l >= frame.left && box.r <= frame.right && box.t >= frame.top && box.b <= frame.bottom
    && !taken.some((other) => box.l < other.r && box.r > other.l && box.t < other.b && box.b > other.t);
  for (const p of points) {
    const name = p.entry.short;
    const width = name.length * 6.6 + 4;
    const places = [[p.x + 11, p.y], [p.x - 11 - width, p.y], [p.x - width / 2, p.y - 17], [p.x - width / 2, p.y + 17],
      [p.x + 9, p.y - 17], [p.x + 9, p.y + 17], [p.x - 9 - width, p.y - 17], [p.x - 9 - width, p.y + 17]];
    for (const [left, middle] of places) {
      const box = { l: left, r: left + width, t: middle - 7, b: middle + 7 };
      if (!free(box)) continue;
      taken.push(box);
      group.append(draw("text", { x: left, y: middle + 4 }, name));
      break;
    }
  }
  return group;
}

function listen(svg, tip, points, data, chosen, width) {
  const hide = () => {
    tip.hidden = true;
    for (const { node } of points) node.classList.remove("near");
  };
  const show = (point) => {
    hide();
    point.node.classList.add("near");
    const { entry } = point;
    const axes = [...new Set([...chosen, ...data.axes.filter((axis) => axis.shown)])];
    const lines = axes.filter((axis) => entry.figures[axis.key]).map((axis) =>
      make("div", { class: "tip-line" }, make("span", {}, axis.title), make("span", {}, entry.figures[axis.key].t)));
    tip.replaceChildren(make("b", {}, entry.name), make("div", { class: "tip-note" }, point.group.name), ...lines);
    tip.hidden = false;
    const left = point.x + 16 + tip.offsetWidth > width ? point.x - 16 - tip.offsetWidth : point.x + 16;
    tip.style.left = `${Math.max(0, Math.min(left, width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, point.y - tip.offsetHeight / 2)}px`;
  };
  svg.addEventListener("pointermove", (event) => {
    const edge = svg.getBoundingClientRect();
    const far = (p) => Math.hypot(event.clientX - edge.left - p.x, event.clientY - edge.top - p.y);
    const nearest = points.reduce((a, b) => (far(b) < far(a) ? b : a));
    if (far(nearest) <= REACH) show(nearest);
    else hide();
  });
  svg.addEventListener("pointerleave", hide);
  for (const point of points) {
    point.node.addEventListener("focus", () => show(point));
    point.node.addEventListener("blur", hide);
  }
  svg.addEventListener("keydown", (event) => event.key === "Escape" && hide());
}
