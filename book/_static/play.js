// Figures that play: a line chart over the numbers behind a figure, moved by sliders, without a kernel and without a network.
// The numbers are those of the figure's own data link; what to draw stands in its attribute data-play (synthprune.figures.Play).
(() => {
  "use strict";
  const DASHES = ["", "7 4", "2 3", "9 3 2 3", "5 2 2 2 2 2"];
  // Discs, diamonds, triangles, squares and crosses around (0, 0), for lines that are points.
  const MARKS = ["M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z", "M0 -5L5 0L0 5L-5 0Z", "M0 -5L5 4L-5 4Z", "M-4 -4H4V4H-4Z",
    "M-4.5 -1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z"];
  const MARGIN = { left: 56, right: 14, top: 10, bottom: 44 };

  function make(parent, tag, attributes = {}, text = "") {
    const svg = /^(svg|g|path|line|text|circle)$/.test(tag);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text) node.textContent = text;
    parent.append(node);
    return node;
  }

  // CSV as Python wrote it: the first row names the columns; a cell may stand in quotation marks.
  function rowsOf(link) {
    const bytes = Uint8Array.from(atob(link.href.split(",")[1]), letter => letter.charCodeAt(0));
    const [names, ...rows] = new TextDecoder().decode(bytes).split("\n")
      .map(line => [...line.matchAll(/(?:"([^"]*)"|([^,]*))(?:,|$)/g)].map(cell => cell[1] ?? cell[2]));
    return rows.map(row => Object.fromEntries(names.map((name, n) => [name, row[n]])));
  }

  const FEW = 15; // places, each of which then has its mark
  const distinct = values => [...new Set(values)];
  const numeric = value => Number.parseFloat(value);
  // Three digits; of what is counted, all of them.
  const said = value => Math.abs(value) >= 1e7 || (value && Math.abs(value) < 1e-3)
    ? value.toExponential(1).replace(".0e", "e")
    : value.toLocaleString("en-US", Math.abs(value) < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
  const signed = text => text.replace("-", "\u2212");

  // A scale between numbers and pixels, with its marks: linear, log, or symlog (logarithmic to both sides of zero).
  function scale(kind, low, high, from, to) {
    const [name, inner] = kind.split(":");
    const c = Number(inner) || 1;
    const bend = { linear: v => v, log: v => Math.log10(v), symlog: v => Math.sign(v) * Math.log10(1 + Math.abs(v) / c) }[name];
    const [a, b] = [bend(low), bend(high)];
    const at = value => from + (to - from) * (bend(value) - a) / ((b - a) || 1);
    const powers = Array.from({ length: 24 }, (_, n) => 10 ** (n - 12)).filter(v => name === "log" || v > 2 * c);
    const within = values => values.filter(v => v >= low && v <= high);
    let marks = within(name === "log" ? powers : [...powers.map(v => -v), 0, ...powers]);
    if (name === "log" && marks.length < 3) marks = within(powers.flatMap(v => [v, 2 * v, 5 * v]));
    if (name === "linear" || marks.length < 2) {
      marks = [];
      const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map(n => n * power).find(s => s >= rough);
      for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) marks.push(n * step || 0); // no -0
    } else {
      const every = Math.ceil(marks.length / 7);
      marks = marks.filter((_, n) => n % every === 0);
    }
    return { at, marks };
  }

  function play(figure, number) {
    const spec = JSON.parse(figure.dataset.play);
    const rows = rowsOf(figure.querySelector("a[download$='.csv']"));
    const quantities = Object.keys(spec.y);
    const lines = distinct(rows.map(row => row[spec.lines])).filter(name => spec.look[name]);
    const held = row => spec.always.includes(row[spec.lines]);
    const sliders = Object.keys(spec.slide).map(name => ({
      name, words: spec.slide[name],
      values: distinct(rows.filter(row => !held(row)).map(row => row[name])).sort((a, b) => numeric(a) - numeric(b)),
    })).filter(slider => slider.values.length > 1);
    const places = distinct(rows.map(row => numeric(row[spec.x])).filter(Number.isFinite)).sort((a, b) => a - b);
    if (places.length < 2 || !lines.length) return;
    const state = { quantity: 0, place: places.length >> 1, off: new Set(),
      // Where the figure says; else the highest of a few levels, and of many positions the middle.
      slid: sliders.map(({ name, values }) => values.includes(spec.start[name]) ? values.indexOf(spec.start[name])
        : values.length > 9 ? values.length >> 1 : values.length - 1) };

    // Of each line: the mean, and each initialisation, as [x, y] in order; a line without an x lies across.
    function curves(name, quantity, fixed) {
      const chosen = rows.filter(row => row[spec.lines] === name && Number.isFinite(numeric(row[quantity]))
        && (held(row) || fixed.every(([column, value]) => row[column] === value)));
      const by = (of, key) => of.reduce((found, row) => found.set(key(row), [...found.get(key(row)) ?? [], row]), new Map());
      const points = of => [...by(of, row => numeric(row[spec.x]))].map(([x, same]) =>
        [x, same.reduce((sum, row) => sum + numeric(row[quantity]), 0) / same.length]).sort((a, b) => a[0] - b[0]);
      const each = spec.each ? [...by(chosen, row => row[spec.each]).values()].map(points) : [];
      const mean = points(chosen);
      return { mean, each: each.length > 1 ? each : [], spread: spec.logy ? [] : mean.map(([x, value]) => [x, ...around(value,
        each.flatMap(one => one.filter(([at]) => Object.is(at, x)).map(point => point[1])))]) };
    }
    // The ends of the 95 % interval of a mean of some values; of two, whose interval says nothing, their range.
    function around(mean, values) {
      if (values.length < 3) return values.length < 2 ? [mean, mean] : [Math.min(...values), Math.max(...values)];
      const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1));
      const half = spec.t[Math.min(values.length, spec.t.length + 1) - 2] * deviation / Math.sqrt(values.length);
      return [mean - half, mean + half, half];
    }
    const fixedNow = () => sliders.map((slider, n) => [slider.name, slider.values[state.slid[n]]]);

    const box = make(figure, "div", { class: "play" });
    figure.querySelector(".panels").after(box);
    const controls = make(box, "div", { class: "play__controls" });
    const chart = make(box, "svg", { role: "img" });
    const legend = make(box, "div", { class: "play__legend", role: "group", "aria-label": "Lines shown" });
    const cursor = make(box, "div", { class: "play__controls" });
    const told = make(box, "output", { class: "play__told", "aria-live": "polite" });
    const thin = make(box, "p", { class: "play__told" }, `Thick: the mean${spec.logy ? "" : ", with its 95 % interval where there are three or more"}. Thin: each ${spec.each}.`);

    function range(parent, words, last, value, change, name) {
      const label = make(parent, "label", {}, `${words} `);
      const input = make(label, "input", { type: "range", min: 0, max: last, step: 1, value });
      const shown = make(label, "span");
      const tell = () => {
        shown.textContent = name(Number(input.value));
        input.setAttribute("aria-valuetext", shown.textContent);
      };
      input.addEventListener("input", () => { change(Number(input.value)); tell(); draw(); });
      tell();
    }
    sliders.forEach((slider, n) => range(controls, slider.words, slider.values.length - 1, state.slid[n],
      value => { state.slid[n] = value; }, value => slider.values[value]));
    if (quantities.length > 1) {
      range(controls, "quantity", quantities.length - 1, 0, value => { state.quantity = value; },
        value => spec.y[quantities[value]]);
    }
    range(cursor, `read at ${spec.words}`, places.length - 1, state.place, value => { state.place = value; },
      value => signed(said(places[value])));
    lines.forEach((name, n) => {
      const button = make(legend, "button", { type: "button", "aria-pressed": "true" });
      const swatch = make(button, "svg", { width: 30, height: 10, "aria-hidden": "true", style: look(name) });
      make(swatch, "line", { x1: 0, x2: 30, y1: 5, y2: 5, "stroke-dasharray": DASHES[n % DASHES.length], "stroke-width": 2.5 });
      if (places.length < FEW) make(swatch, "path", { class: "mark", transform: "translate(15 5)", d: MARKS[n % MARKS.length] });
      make(button, "span", {}, spec.look[name].label);
      button.addEventListener("click", () => {
        const off = !state.off.delete(name) && Boolean(state.off.add(name));
        button.setAttribute("aria-pressed", String(!off));
        draw();
      });
    });

    function look(name) {
      return `--light: ${spec.look[name].light}; --dark: ${spec.look[name].dark}`;
    }

    // One scale for every position of the sliders, so that what moves is the data.
    function limits(quantity) {
      const every = sliders.reduce((all, slider) => all.flatMap(fixed => slider.values.map(value =>
        [...fixed, [slider.name, value]])), [[]]);
      const values = every.flatMap(fixed => lines.flatMap(name => curves(name, quantity, fixed)))
        .flatMap(({ mean, each }) => [mean, ...each].flatMap(points => points.map(point => point[1])))
        .filter(value => !spec.logy || value > 0);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const pad = spec.logy ? 0 : 0.05 * (high - low) || 0.5, line = spec.line[quantity];
      return [low - pad, Math.max(high + pad, line ? 1.1 * line : -Infinity)];
    }
    const kept = new Map();
    // An empty bin has no place on a logarithmic axis: the line ends before it and begins again behind it.
    const gap = (one, next) => places.indexOf(next) - places.indexOf(one) > 1;

    function draw() {
      const quantity = quantities[state.quantity], width = Math.max(280, box.clientWidth), height = Math.min(380, 0.75 * width);
      if (!kept.has(quantity)) kept.set(quantity, limits(quantity));
      const [low, high] = kept.get(quantity);
      const x = scale(spec.scale, places[0], places.at(-1), MARGIN.left, width - MARGIN.right);
      const y = scale(spec.logy ? "log" : "linear", low, high, height - MARGIN.bottom, MARGIN.top);
      chart.replaceChildren();
      chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
      let last = -Infinity;
      for (const mark of x.marks) {
        if (x.at(mark) - last < 48) continue; // no label over another
        last = x.at(mark);
        make(chart, "line", { class: "grid", x1: x.at(mark), x2: x.at(mark), y1: MARGIN.top, y2: height - MARGIN.bottom });
        make(chart, "text", { x: x.at(mark), y: height - MARGIN.bottom + 16, "text-anchor": "middle" }, signed(said(mark)));
      }
      for (const mark of y.marks) {
        make(chart, "line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y.at(mark), y2: y.at(mark) });
        make(chart, "text", { x: MARGIN.left - 6, y: y.at(mark) + 4, "text-anchor": "end" }, signed(said(mark)));
      }
      make(chart, "text", { x: (MARGIN.left + width) / 2, y: height - 6, "text-anchor": "middle" }, spec.words);
      make(chart, "text", { transform: `translate(14 ${height / 2 - 14}) rotate(-90)`, "text-anchor": "middle" }, spec.y[quantity]);
      const line = spec.line[quantity], here = places[state.place];
      if (line) {
        make(chart, "line", { class: "limit", x1: MARGIN.left, x2: width - MARGIN.right, y1: y.at(line), y2: y.at(line) });
        make(chart, "text", { x: MARGIN.left + 4, y: y.at(line) - 4 }, "stable below");
      }
      make(chart, "line", { class: "cursor", x1: x.at(here), x2: x.at(here), y1: MARGIN.top, y2: height - MARGIN.bottom });
      const heard = [];
      thin.hidden = true;
      lines.forEach((name, n) => {
        if (state.off.has(name)) return;
        const { mean, each, spread } = curves(name, quantity, fixedNow());
        const group = make(chart, "g", { class: "line", style: look(name) });
        const down = value => y.at(Math.min(high, Math.max(low, value))).toFixed(1);
        const ends = spread.filter(([at, a, b]) => Number.isFinite(at) && b > a);
        const bars = ends.map(([at, a, b]) => `M${x.at(at).toFixed(1)} ${down(a)}V${down(b)}`);
        const edge = side => ends.map(point => `${x.at(point[0]).toFixed(1)} ${down(point[side])}`);
        // Lengths of a search are few and far apart: bars.
        if (spec.scale === "log") make(group, "path", { d: bars.join(""), "stroke-width": 1.2 });
        else if (ends.length) make(group, "path", { class: "band", d: `M${[...edge(1), ...edge(2).reverse()].join("L")}Z` });
        const trace = (points, thick) => {
          const seen = points.map(([at, value]) => [at, spec.logy && value <= 0 ? NaN : value]).filter(point => !Number.isNaN(point[1]));
          const across = seen.length && !Number.isFinite(seen[0][0]);
          const path = (across ? [[places[0], seen[0][1]], [places.at(-1), seen[0][1]]] : seen)
            .map(([at, value], k, all) => `${k && !(spec.logy && gap(all[k - 1][0], at)) ? "L" : "M"}${x.at(at).toFixed(1)} ${down(value)}`);
          make(group, "path", { d: path.join(""), "stroke-width": thick ? 2.2 : 0.8, "stroke-opacity": thick ? 1 : 0.55,
            "stroke-dasharray": DASHES[n % DASHES.length] });
          if (thick && !across && places.length < FEW) {
            for (const [at, value] of seen) {
              make(group, "path", { class: "mark", transform: `translate(${x.at(at)} ${y.at(value)})`, d: MARKS[n % MARKS.length] });
            }
          }
        };
        each.forEach(points => trace(points, false));
        thin.hidden &&= each.length === 0;
        trace(mean, true);
        const found = mean.find(([at]) => at === here) ?? mean.find(([at]) => !Number.isFinite(at));
        const half = found && spread.find(([at]) => Object.is(at, found[0]))?.[3];
        const interval = half ? ` [${signed(said(found[1] - half))}, ${signed(said(found[1] + half))}]` : "";
        if (found) heard.push(`${spec.look[name].label} ${signed(said(found[1]))}${interval}`);
      });
      const where = sliders.map((slider, n) => `${slider.words} ${slider.values[state.slid[n]]}, `).join("");
      told.textContent = `${spec.y[quantity]}, ${where}${spec.words} ${signed(said(here))}: ${heard.join("; ") || "no line has a value here"}.`;
      chart.setAttribute("aria-label", `Lines over ${spec.words}. ${told.textContent}`);
    }
    figure.classList.add("playing");
    let width = 0;
    new ResizeObserver(() => {
      if (width !== box.clientWidth) { width = box.clientWidth; draw(); }
    }).observe(box);
    draw();
  }

  // The drawings are vectors already: a link to the one that is there costs the page nothing.
  function vectors(figure) {
    const data = figure.querySelector("a[download$='.csv']");
    let last = data;
    figure.querySelectorAll(".panels img.only-light").forEach((image, n, all) => {
      const name = data.download.replace(".csv", all.length > 1 ? `_${n + 1}.svg` : ".svg");
      const link = Object.assign(document.createElement("a"), { download: name, href: image.src,
        textContent: all.length > 1 ? `SVG\u00a0${n + 1}` : "SVG" });
      last.after(" ", link);
      last = link;
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.synthprune").forEach(vectors);
    document.querySelectorAll("figure[data-play]").forEach(play);
  });
})();
