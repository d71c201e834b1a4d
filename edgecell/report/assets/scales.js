// The scale of an axis: where values stand, and which of them get a tick.
function makeScale(values, low, high) {
  const known = values.filter(Number.isFinite);
  let [min, max] = [Math.min(...known), Math.max(...known)];
  const logarithmic = min > 0 && max / min > 10;
  if (logarithmic) [min, max] = [Math.log10(min), Math.log10(max)];
  const margin = (max - min) * 0.12 || Math.abs(max) * 0.05 || 1;
  [min, max] = [min - margin, max + margin];
  const place = (value) =>
    low + (((logarithmic ? Math.log10(value) : value) - min) / (max - min)) * (high - low);
  return { place, logarithmic, ticks: logarithmic ? decades(min, max) : evenly(min, max) };
}

// About six round numbers between the ends, with as many digits as tell them apart.
function evenly(min, max) {
  const rough = (max - min) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  let digits = 0;
  while (digits < 9 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
  const ticks = [];
  for (let n = Math.ceil(min / step); n * step <= max; n += 1)
    ticks.push({ value: n * step, text: grouped((n * step).toFixed(digits)) });
  return ticks;
}

function decades(min, max) {
  const ticks = [];
  for (let power = Math.floor(min); power <= max; power += 1)
    for (const n of [1, 2, 5]) {
      const value = n * 10 ** power;
      if (Math.log10(value) >= min && Math.log10(value) <= max)
        ticks.push({ value, text: grouped(value.toFixed(Math.max(0, -power))) });
    }
  return ticks;
}

function grouped(text) {
  const [whole, rest] = text.replace(/^-(0(\.0*)?)$/, "$1").split(".");
  const parts = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return rest === undefined ? parts : `${parts}.${rest}`;
}
