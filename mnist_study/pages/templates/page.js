"use strict";
(() => {
  const source = document.getElementById("trials");
  const data = source ? JSON.parse(source.textContent) : null;
  const tip = document.getElementById("tip");
  const svgNs = "http://www.w3.org/2000/svg";
  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  };
  const svg = (tag, attributes = {}, text = null) => {
    const node = document.createElementNS(svgNs, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== null) node.textContent = text;
    return node;
  };
  const percent = (value) => (value === null ? "" : `${(100 * value).toFixed(2)} %`);
  const short = (value) => (typeof value === "number" ? String(+value.toPrecision(3)) : value);
  const nameOf = (number) => {
    const mark = Object.entries(data.marks).filter(([, trial]) => trial === number).map(([name]) => name);
    return `${data.unit} ${number}${mark.length ? ` (${mark.join(", ")})` : ""}`;
  };

  /* A folded section opens when a link leads into it. */
  const reveal = (target) => {
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    target.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    const href = link && (link.getAttribute("href") || link.getAttributeNS("http://www.w3.org/1999/xlink", "href"));
    if (!href || !href.startsWith("#")) return;
    const target = document.getElementById(href.slice(1));
    if (!target) return;
    event.preventDefault();
    hide();
    reveal(target);
    if (target.dataset.trial) {
      document.querySelectorAll("tr.hit").forEach((row) => row.classList.remove("hit"));
      target.classList.add("hit");
      target.scrollIntoView({ block: "center" });
    } else target.scrollIntoView();
  });
  if (location.hash && document.getElementById(location.hash.slice(1))) reveal(document.getElementById(location.hash.slice(1)));

  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 6))}px`;
    tip.style.top = `${Math.max(4, y + 14 + box.height > innerHeight ? y - box.height - 10 : y + 14)}px`;
  };
  if (!data) return;
  const numbers = Object.keys(data.trials).map(Number);
  const describe = (number) => {
    const trial = data.trials[number];
    const params = data.params.map((param) => `${param.name} ${short(trial.params[param.name])}`);
    return [`${nameOf(number)}: ${trial.title}`, ...params].join("\n");
  };
  const trialAt = (node) => {
    const link = node.closest && node.closest("a, [data-dot]");
    if (!link) return null;
    const href = link.getAttribute("href") || link.getAttributeNS("http://www.w3.org/1999/xlink", "href") || "";
    const found = link.dataset && link.dataset.dot ? link.dataset.dot : (href.match(/^#trial-(\d+)$/) || [])[1];
    return found !== undefined && found in data.trials ? Number(found) : null;
  };
  document.addEventListener("mouseover", (event) => {
    const number = trialAt(event.target);
    if (number === null) hide();
    else show(describe(number), event.clientX, event.clientY);
  });
  document.addEventListener("focusin", (event) => {
    const number = trialAt(event.target);
    if (number === null) return;
    const box = event.target.getBoundingClientRect();
    show(describe(number), box.right, box.bottom);
  });
  document.addEventListener("focusout", hide);
  addEventListener("scroll", hide, { passive: true });

  /* The table: sort by a click on a column's name, filter by its values and by text. */
  const table = document.getElementById("trial-table");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const cell = (row, column) => row.cells[column + 1].textContent.trim();
  if (table) {
    const heads = [...table.tHead.rows[0].cells].slice(1);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => {
        const text = cell(row, column).replace(/[,\u2009]/g, "");
        return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
      };
      const ordered = rows.map((row, index) => [value(row), index, row]).sort(([a, i], [b, j]) => {
        if (a === null || b === null) return a === b ? i - j : a === null ? 1 : -1;
        const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
        return (up ? order : -order) || i - j;
      });
      table.tBodies[0].append(...ordered.map(([, , row]) => row));
    }));
    const box = document.querySelector(".filters");
    const count = el("span", { "aria-live": "polite" });
    const names = heads.map((head) => head.textContent.trim());
    const search = el("input", { type: "search", placeholder: names.includes("l2") ? "find, or l2<0.001 value>=0.98" : "find, or value>=0.98", "aria-label": `filter the ${data.unit}s` });
    const chosen = {};
    const apply = () => {
      const terms = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row) => {
        const fits = Object.entries(chosen).every(([name, value]) => !value || cell(row, names.indexOf(name)) === value)
          && terms.every((term) => {
            const parts = term.match(/^([a-z_0-9]+)(<=|>=|<|>|=)(.+)$/);
            if (!parts || !names.includes(parts[1])) return row.textContent.toLowerCase().includes(term);
            const text = cell(row, names.indexOf(parts[1]));
            if (text === "") return false;
            const [value, limit] = [Number(text), Number(parts[3])];
            if (Number.isNaN(value) || Number.isNaN(limit)) return text.toLowerCase() === parts[3];
            return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit, "=": value === limit }[parts[2]];
          });
        row.hidden = !fits;
        shown += fits;
      });
      count.textContent = `${shown} of ${rows.length} ${data.unit}s`;
    };
    box.dataset.filters.split(",").filter(Boolean).forEach((name) => {
      const values = [...new Set(rows.map((row) => cell(row, names.indexOf(name))))].sort();
      const select = el("select", { "aria-label": name, onchange: () => { chosen[name] = select.value; apply(); } },
        el("option", { value: "" }, `any ${name}`), ...values.map((value) => el("option", { value }, value)));
      box.append(select);
    });
    search.addEventListener("input", apply);
    box.append(search, count);
    apply();
  }

  /* Axes that several widgets draw alike. */
  const share = (param, value) => param.log
    ? Math.log(value / param.low) / Math.log(param.high / param.low)
    : (value - param.low) / (param.high - param.low);
  const ticksOf = (param, parts = [0, 0.25, 0.5, 0.75, 1]) => parts.map((part) => {
    const value = param.log ? param.low * (param.high / param.low) ** part : param.low + part * (param.high - param.low);
    return [part, param.type === "int" ? String(Math.round(value)) : short(value)];
  });
  const select = (label, options, value, onchange) => el("label", {}, `${label} `,
    el("select", { onchange: (event) => onchange(event.target.value) },
      ...options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text))));
  const mix = (part) => `color-mix(in oklab, var(--accent) ${Math.round(100 * part)}%, var(--tint))`;
  const withValue = numbers.filter((number) => data.trials[number].value !== null);

  /* Drawn as wide as its place, so that words keep their size; a folded place has no width yet. */
  const placeOf = (box) => Math.max(260, Math.min(680, box.clientWidth || 680));
  /* What a colour means in the figures: orange the best, black the documented network. */
  const colorOf = (number, other) => ({ best: "--mark", documented: "--ink" })[nameOfMark(number)] || other;
  const nameOfMark = (number) => (Object.entries(data.marks).find(([, trial]) => trial === number) || [])[0];

  /* Contour: a weighted mean of the trials near each point, blank where there are none. */
  const contour = (box) => {
    const state = { x: data.params[0].name, y: data.params[data.params.length - 1].name };
    const complete = withValue.filter((number) => data.trials[number].state === "COMPLETE");
    const values = complete.map((number) => data.trials[number].value).sort((a, b) => a - b);
    const low = values[Math.floor(values.length / 10)], high = values[values.length - 1];
    const shade = (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    const canvas = el("div");
    const draw = () => {
      const [px, py] = [state.x, state.y].map((name) => data.params.find((param) => param.name === name));
      const [left, top, width] = [84, 12, placeOf(box) - 84 - 76];
      const height = Math.min(330, Math.round(1.2 * width));
      const parts = width < 320 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
      const picture = svg("svg", { viewBox: `0 0 ${left + width + 76} ${top + height + 46}`, role: "img", "aria-label": `validation accuracy over ${px.name} and ${py.name}` });
      const at = (number) => { const p = data.trials[number].params; return [share(px, p[px.name]), share(py, p[py.name])]; };
      const points = complete.map((number) => [...at(number), data.trials[number].value]);
      const cells = 30, reach = 0.11;
      for (let i = 0; i < cells; i += 1) for (let j = 0; j < cells; j += 1) {
        let weight = 0, sum = 0;
        for (const [x, y, value] of points) {
          const distance = ((x - (i + 0.5) / cells) ** 2 + (y - (j + 0.5) / cells) ** 2) / (2 * reach ** 2);
          const w = Math.exp(-distance);
          weight += w; sum += w * value;
        }
        if (weight < 0.25) continue;
        picture.append(svg("rect", { x: left + (i * width) / cells, y: top + height - ((j + 1) * height) / cells, width: width / cells + 0.6, height: height / cells + 0.6, style: `fill:${mix(0.08 + 0.82 * shade(sum / weight))}` }));
      }
      picture.append(svg("rect", { x: left, y: top, width, height, class: "axis" }));
      for (const [part, text] of ticksOf(px, parts)) picture.append(svg("text", { x: left + part * width, y: top + height + 15, "text-anchor": "middle" }, text));
      for (const [part, text] of ticksOf(py)) picture.append(svg("text", { x: left - 6, y: top + height - part * height + 4, "text-anchor": "end" }, text));
      picture.append(svg("text", { x: left + width / 2, y: top + height + 36, "text-anchor": "middle" }, px.name));
      picture.append(svg("text", { x: 12, y: top + height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${top + height / 2})` }, py.name));
      for (const number of withValue) {
        const [x, y] = at(number), isMarked = Object.values(data.marks).includes(number);
        const isPruned = data.trials[number].state !== "COMPLETE";
        picture.append(svg("circle", { cx: left + x * width, cy: top + height - y * height, r: isMarked ? 6 : isPruned ? 2.5 : 4.5, class: "dot", "data-dot": number, tabindex: 0, style: isPruned ? "fill:var(--muted)" : `fill:${mix(0.2 + 0.8 * shade(data.trials[number].value))};stroke:var(${colorOf(number, isMarked ? "--second" : "--ink")})${isMarked ? ";stroke-width:2.5" : ""}` }));
      }
      for (let k = 0; k <= 20; k += 1) picture.append(svg("rect", { x: left + width + 14, y: top + height - ((k + 1) * height) / 21, width: 12, height: height / 21 + 0.6, style: `fill:${mix(0.08 + (0.82 * k) / 20)}` }));
      picture.append(svg("text", { x: left + width + 30, y: top + 10 }, percent(high)), svg("text", { x: left + width + 30, y: top + height }, `≤ ${percent(low)}`));
      canvas.replaceChildren(picture);
    };
    const names = data.params.map((param) => [param.name, param.name]);
    box.append(el("div", { class: "controls" }, select("across", names, state.x, (value) => { state.x = value; draw(); }), select("up", names, state.y, (value) => { state.y = value; draw(); })), canvas);
    draw();
  };

  /* Two trials beside each other: values, and their curves of validation accuracy. */
  const compare = (box) => {
    const marks = Object.values(data.marks);
    const ranked = [...withValue].sort((a, b) => data.trials[b].value - data.trials[a].value);
    const state = { pair: [...new Set([...marks, ...ranked])].slice(0, 2) };
    const out = el("div"), controls = el("div", { class: "controls" });
    const draw = () => {
      const [a, b] = state.pair.map((number) => data.trials[number]);
      const options = numbers.map((number) => [number, nameOf(number)]);
      controls.replaceChildren(...["first", "second"].map((label, i) => select(label, options, state.pair[i], (value) => { state.pair[i] = Number(value); draw(); })));
      const lines = [["validation accuracy", percent(a.value), percent(b.value), a.value !== null && b.value !== null ? `${(100 * (b.value - a.value)).toFixed(2)} points` : ""],
        ["state", a.state, b.state, ""], ["parameters", String(a.size ?? ""), String(b.size ?? ""), a.size && b.size ? `× ${short(b.size / a.size)}` : ""],
        ...data.params.map((param) => { const [x, y] = [a.params[param.name], b.params[param.name]]; return [param.name, short(x), short(y), x === y ? "same" : x ? `× ${short(y / x)}` : ""]; })];
      const body = el("table", {}, el("thead", {}, el("tr", {}, ...["", nameOf(state.pair[0]), nameOf(state.pair[1]), "second against first"].map((text) => el("th", {}, text)))),
        el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line.map((text) => el("td", {}, String(text)))))));
      out.replaceChildren(el("div", { class: "wide" }, body), curves([[a, colorOf(state.pair[0], "--accent"), nameOf(state.pair[0])], [b, colorOf(state.pair[1], "--second"), nameOf(state.pair[1])]]));
      rows.forEach((row) => { const on = state.pair.includes(Number(row.dataset.trial)); row.classList.toggle("chosen", on); row.querySelector("input").checked = on; });
    };
    const curves = (pair) => {
      const [left, top, width, height] = [44, 40, placeOf(box) - 44 - 16, 240];
      const all = pair.flatMap(([trial]) => trial.epochs.filter((value) => value !== null));
      const picture = svg("svg", { viewBox: `0 0 ${left + width + 16} ${top + height + 40}`, role: "img", "aria-label": "validation accuracy by epoch" });
      if (!all.length) return picture;
      const last = Math.max(2, ...pair.map(([trial]) => trial.epochs.length)), high = Math.max(...all);
      const late = pair.flatMap(([trial]) => trial.epochs.slice(Math.min(2, trial.epochs.length - 1)).filter((value) => value !== null));
      const low = Math.min(...(late.length ? late : all)), room = 0.06 * (high - low || 0.01);
      const x = (epoch) => left + ((epoch - 1) / (last - 1)) * width;
      const y = (value) => top + height - ((value - low + room) / (high - low + 2 * room)) * height;
      const frame = svg("clipPath", { id: "compare-frame" });
      frame.append(svg("rect", { x: left, y: top, width, height }));
      picture.append(frame);
      for (let k = 0; k <= 4; k += 1) {
        const value = low + (k / 4) * (high - low);
        picture.append(svg("line", { x1: left, x2: left + width, y1: y(value), y2: y(value), class: "grid" }), svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, (100 * value).toFixed(1)));
      }
      const step = Math.ceil(last / 10);
      for (let epoch = 1; epoch <= last; epoch += step) picture.append(svg("text", { x: x(epoch), y: top + height + 16, "text-anchor": "middle" }, epoch));
      picture.append(svg("text", { x: left + width / 2, y: top + height + 34, "text-anchor": "middle" }, "epoch"));
      pair.forEach(([trial, color, name], i) => {
        const path = trial.epochs.map((value, k) => value === null ? "" : `${k && trial.epochs[k - 1] !== null ? "L" : "M"}${x(k + 1).toFixed(1)} ${y(value).toFixed(1)}`).join("");
        picture.append(svg("path", { d: path, style: `fill:none;stroke:var(${color});stroke-width:2`, "clip-path": "url(#compare-frame)" }));
        picture.append(svg("rect", { x: left + (i * width) / 2, y: 24, width: 14, height: 4, style: `fill:var(${color})` }), svg("text", { x: left + 20 + (i * width) / 2, y: 30 }, name));
      });
      const cut = all.filter((value) => y(value) > top + height).length;
      picture.append(svg("text", { x: left, y: 12 }, `validation accuracy in %${cut ? `; ${cut} points below the frame` : ""}`));
      return picture;
    };
    rows.forEach((row) => row.querySelector("input").addEventListener("change", (event) => {
      const number = Number(row.dataset.trial);
      state.pair = event.target.checked ? [state.pair[1], number] : state.pair;
      draw();
    }));
    box.append(controls, out);
    draw();
  };

  /* Timeline: what each worker did when; drawn as wide as its place, so that words keep their size. */
  const timeline = (box) => {
    const busy = numbers.filter((number) => data.trials[number].begun !== undefined);
    const workers = 1 + Math.max(-1, ...busy.map((number) => data.trials[number].worker));
    const end = Math.max(1, ...busy.map((number) => data.trials[number].ended));
    const width = placeOf(box) - 16;
    const [left, top, row] = [8, 26, 34];
    const colors = { COMPLETE: "--accent", PRUNED: "--pruned", FAILED: "--failed" };
    const bottom = top + workers * row;
    const picture = svg("svg", { viewBox: `0 0 ${left + width + 8} ${bottom + 30}`, role: "img", "aria-label": "what each worker did when" });
    const x = (seconds) => left + (seconds / end) * width;
    Object.keys(colors).filter((state) => busy.some((number) => data.trials[number].state === state)).forEach((state, i) => {
      picture.append(svg("rect", { x: left + i * 84, y: 4, width: 10, height: 10, style: `fill:var(${colors[state]})` }), svg("text", { x: left + 14 + i * 84, y: 13 }, state));
    });
    for (let i = 0; i < workers; i += 1) picture.append(svg("text", { x: left, y: top + i * row + 11 }, `worker ${i + 1}`));
    data.breaks.forEach((at) => picture.append(svg("line", { x1: x(at), x2: x(at), y1: top, y2: bottom, class: "break" })));
    busy.forEach((number) => {
      const { worker, begun, ended, state } = data.trials[number];
      const link = svg("a", { href: `#trial-${number}` });
      link.append(svg("rect", { x: x(begun), y: top + worker * row + 15, width: Math.max(1, x(ended) - x(begun) - 0.8), height: 14, style: `fill:var(${colors[state]})` }));
      picture.append(link);
    });
    const [unit, name] = end > 300 ? [60, "min"] : [1, "s"];
    for (let k = 0; k <= 4; k += 1) picture.append(svg("text", { x: x((k * end) / 4), y: bottom + 20, "text-anchor": k === 0 ? "start" : k === 4 ? "end" : "middle" }, `${((k * end) / (4 * unit)).toFixed(end / unit < 20 ? 1 : 0)} ${name}`));
    box.append(picture);
  };

  const widgets = { contour, compare, timeline };
  document.querySelectorAll("[data-widget]").forEach((box) => widgets[box.dataset.widget](box));
})();
