// A few words for making elements. Text only ever enters as text: names of classes and files are data.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// A labelled choice among names; `changed` gets the position of the one that was taken.
function chooser(label, names, chosen, changed) {
  const select = make("select", {}, ...names.map((name, i) => make("option", { value: i }, name)));
  select.value = chosen;
  select.addEventListener("change", () => changed(Number(select.value)));
  return make("label", { class: "chooser" }, make("span", {}, label), select);
}
