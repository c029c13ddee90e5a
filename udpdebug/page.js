"use strict";

// The server writes the page; this brings the numbers of each event into it.
const points = 60; // of a line
const lines = new Map(); // of each counter, by its row: what was seen last, and rates
const state = document.getElementById("state");
const pause = document.getElementById("pause");
const svg = "http://www.w3.org/2000/svg";
let stream = null;

function sectionOf(s) {
  return document.querySelector(
    `section[data-kind="${CSS.escape(s.kind)}"][data-name="${CSS.escape(s.name)}"]`);
}

function draw(cell, name, values) {
  const most = Math.max(1, ...values);
  const xy = values.map((v, i) =>
    `${(120 * (points - values.length + i) / (points - 1)).toFixed(1)},${(19 - 18 * v / most).toFixed(1)}`);
  let line = cell.querySelector("polyline");
  if (!line) {
    const image = document.createElementNS(svg, "svg");
    image.setAttribute("viewBox", "0 0 120 20");
    image.setAttribute("role", "img");
    line = document.createElementNS(svg, "polyline");
    image.append(line);
    cell.append(image);
  }
  line.setAttribute("points", xy.join(" "));
  cell.firstChild.setAttribute("aria-label", `${name}: ${Math.round(values.at(-1))}, at most ${Math.round(most)}`);
}

// fill replaces the rows of a table whose columns are fields.
function fill(table, items) {
  const columns = table.dataset.columns.split(" ");
  table.tBodies[0].replaceChildren(...items.map((item) => {
    const row = document.createElement("tr");
    for (const name of columns) {
      const cell = row.insertCell();
      cell.textContent = item[name] ?? "";
      if (typeof item[name] === "number") cell.className = "value";
    }
    return row;
  }));
}

function update(snapshot) {
  const at = Date.parse(snapshot.time);
  const shown = document.querySelectorAll("section[data-kind]").length;
  if (shown !== snapshot.sections.length || snapshot.sections.some((s) => !sectionOf(s))) {
    location.replace("./"); // there are other sockets
    return;
  }
  for (const s of snapshot.sections) {
    const section = sectionOf(s);
    const address = section.querySelector("[data-address]");
    if (address) address.textContent = s.local + (s.peer ? ` to ${s.peer}` : "");
    section.querySelector("h2").textContent = `${s.kind} ${s.name}${s.closed ? " (closed)" : ""}`;
    for (const table of section.querySelectorAll("table[data-table]")) fill(table, s[table.dataset.table] || []);
    for (const c of s.counters || []) {
      const row = section.querySelector(`[data-counter="${CSS.escape(c.name)}"]`);
      if (!row) continue;
      const old = lines.get(row) || { values: [] };
      const gauge = row.hasAttribute("data-gauge");
      row.querySelector(".value").textContent = c.value;
      row.classList.toggle("zero", c.value === 0);
      if (gauge || old.at < at) {
        const v = gauge ? c.value : Math.max(0, (c.value - old.value) * 1000 / (at - old.at));
        old.values.push(v);
        if (old.values.length > points) old.values.shift();
        if (!gauge) row.querySelector(".rate").textContent = v.toFixed(v < 10 ? 1 : 0);
        draw(row.querySelector(".line"), c.name, old.values);
      }
      lines.set(row, { at, value: c.value, values: old.values });
    }
  }
  const c = snapshot.capture, captured = document.getElementById("capture");
  if (c && captured) {
    captured.textContent = `${c.running ? "running" : "stopped"}, ${c.bytes} bytes${c.full ? ", full: the rest is not recorded" : ""}`;
  }
  state.textContent = `As of ${new Date(at).toLocaleTimeString()}`;
}

function start() {
  stream = new EventSource("events");
  stream.onmessage = (e) => update(JSON.parse(e.data));
  stream.onerror = () => { state.textContent = "Not connected"; };
}

pause.hidden = false;
pause.addEventListener("click", () => {
  const stop = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(stop));
  if (stop) stream.close(); else start();
});
state.removeAttribute("role"); // it changes each second: nobody wants to hear that
start();
