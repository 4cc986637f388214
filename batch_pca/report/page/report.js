"use strict";
// The scatter plot: reads the points from the block of data, the labels and their marks from the list in the page.

(async () => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const unpack = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const count = data.count;
  const scores = new Float32Array(await unpack(data.scores)); // component after component
  const codes = new Uint32Array(await unpack(data.codes));
  const paths = new TextDecoder().decode(await unpack(data.paths)).split("\n");

  const labels = [...at("labels").children].map((item) => ({
    item,
    box: item.querySelector("input"),
    name: item.querySelector("bdi").textContent,
    shape: new Path2D(item.querySelector("path").getAttribute("d")),
    colour: item.querySelector("svg").getAttribute("color"),
  }));
  const pictures = new Map();
  for (const [place, source] of Object.entries(data.pictures)) {
    const image = new Image();
    image.onload = redraw;
    image.src = source;
    pictures.set(Number(place), image);
  }

  // ---- which components, and which part of the plane

  const canvas = at("plot");
  const pen = canvas.getContext("2d");
  const BY_LABEL = "label"; // a strip for each label, in place of a second component
  const SIDE = 40; // of a picture in the plot, in pixels
  const strips = new Float32Array(count);
  for (let i = 0; i < count; i++) strips[i] = -codes[i] + (((i * 0.6180339887) % 1) - 0.5) * 0.6;
  const view = { x: 0, y: 0, across: 1, up: 1 }; // the middle, and pixels a unit
  let xs, ys, width, height, told = -1, kept = false, frame = 0, rested = 0;
  let placed = []; // pictures as they were drawn last: x, y and whose

  const named = (c) => `component ${c + 1}, ${(100 * data.shares[c]).toFixed(1)} % of the variance`;
  data.shares.forEach((_, c) => [at("across"), at("up")].forEach((menu) => menu.add(new Option(named(c), c))));
  at("up").add(new Option("a strip for each label", BY_LABEL));
  at("up").value = data.shares.length > 1 ? "1" : BY_LABEL;

  const column = (c) => scores.subarray(c * count, (c + 1) * count);
  const inStrips = () => at("up").value === BY_LABEL;
  const isShown = (i) => labels[codes[i]].box.checked;
  const toX = (x) => width / 2 + (x - view.x) * view.across;
  const toY = (y) => height / 2 - (y - view.y) * view.up;

  function choose() {
    xs = column(Number(at("across").value));
    ys = inStrips() ? strips : column(Number(at("up").value));
    showAll();
  }

  function showAll() {
    const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [left, right] = range(xs);
    const [bottom, top] = inStrips() ? [0.5 - labels.length, 0.5] : range(ys);
    view.x = (left + right) / 2;
    view.y = (bottom + top) / 2;
    view.across = (0.92 * width) / (right - left || 1);
    view.up = (0.9 * height) / (top - bottom || 1);
    // One unit is as long both ways: distances in the plot are distances.
    if (!inStrips()) view.across = view.up = Math.min(view.across, view.up);
    forget();
    redraw();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    view.x += ((x - width / 2) / view.across) * (1 - 1 / factor);
    view.y -= ((y - height / 2) / view.up) * (1 - 1 / factor);
    view.across *= factor;
    view.up *= factor;
    forget();
    redrawMoving();
  }

  function move(right, down) {
    view.x -= right / view.across;
    view.y += down / view.up;
    forget();
    redrawMoving();
  }

  // ---- drawing

  function redraw() {
    frame ||= requestAnimationFrame(() => draw(count));
  }

  // While it moves, some of the points: they are shuffled, so the first are an even sample of all.
  function redrawMoving() {
    clearTimeout(rested);
    rested = setTimeout(redraw, 120);
    frame ||= requestAnimationFrame(() => draw(Math.min(count, 15000)));
  }

  function draw(most) {
    frame = 0;
    const started = performance.now();
    const ratio = window.devicePixelRatio;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name);
    drawGrid(ink);
    const radius = Math.min(5, Math.max(2.5, 40 / Math.sqrt(Math.sqrt(count))));
    const marks = labels.map((label) => stamp(label, radius, ratio));
    const reach = marks[0].width / ratio / 2;
    for (let i = 0; i < most; i++) {
      const x = toX(xs[i]), y = toY(ys[i]);
      if (x < -reach || y < -reach || x > width + reach || y > height + reach || !isShown(i)) continue;
      // On whole pixels a mark is sharp, and drawn faster.
      const left = Math.round((x - reach) * ratio) / ratio, top = Math.round((y - reach) * ratio) / ratio;
      pen.drawImage(marks[codes[i]], left, top, 2 * reach, 2 * reach);
    }
    placed = [];
    if (at("pictures").checked) drawPictures();
    canvas.dataset.points = most; // for those who measure
    canvas.dataset.milliseconds = Math.round(performance.now() - started);
  }

  function stamp(label, radius, ratio) {
    const mark = document.createElement("canvas");
    mark.width = mark.height = Math.ceil(2 * (radius + 1) * ratio);
    const brush = mark.getContext("2d");
    brush.translate(mark.width / 2, mark.width / 2);
    brush.scale(radius * ratio, radius * ratio);
    brush.globalAlpha = 0.8;
    brush.fillStyle = label.colour;
    brush.fill(label.shape);
    return mark;
  }

  function drawGrid(ink) {
    pen.font = "12px system-ui, sans-serif";
    pen.strokeStyle = ink("--line");
    pen.fillStyle = ink("--dim");
    pen.beginPath();
    for (const x of ticks(view.x, width / view.across)) {
      pen.moveTo(toX(x), 0);
      pen.lineTo(toX(x), height);
      pen.fillText(String(x), toX(x) + 3, height - 6);
    }
    if (inStrips()) {
      const every = Math.ceil(13 / view.up);
      labels.forEach((label, code) => code % every || pen.fillText(label.name, 6, toY(-code) + 4, 200));
    } else {
      for (const y of ticks(view.y, height / view.up)) {
        pen.moveTo(0, toY(y));
        pen.lineTo(width, toY(y));
        pen.fillText(String(y), 6, toY(y) - 4);
      }
    }
    pen.stroke();
  }

  // Some six round numbers on `span` around `middle`.
  function ticks(middle, span) {
    const rough = span / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const first = Math.ceil((middle - span / 2) / step);
    return Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
  }

  function drawPictures() {
    const side = SIDE;
    for (const [i, image] of pictures) {
      const x = toX(xs[i]), y = toY(ys[i]);
      const covered = placed.some(([a, b]) => Math.abs(a - x) < side && Math.abs(b - y) < side);
      if (covered || !isShown(i) || !image.naturalWidth) continue;
      placed.push([x, y, i]);
      pen.fillStyle = labels[codes[i]].colour;
      pen.fillRect(x - side / 2, y - side / 2, side, side);
      pen.drawImage(image, x - side / 2 + 2, y - side / 2 + 2, side - 4, side - 4);
    }
  }

  // ---- which image a mark is

  function nearest(x, y, reach) {
    const picture = placed.find(([a, b]) => Math.max(Math.abs(a - x), Math.abs(b - y)) < SIDE / 2);
    if (picture) return picture[2];
    let found = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      const away = (toX(xs[i]) - x) ** 2 + (toY(ys[i]) - y) ** 2;
      if (away < least && isShown(i)) [found, least] = [i, away];
    }
    return found;
  }

  function tell(i) {
    if (i === told) return;
    told = i;
    const tip = at("tip");
    tip.hidden = at("ring").hidden = i < 0;
    if (i >= 0) {
      const words = document.createElement("div");
      const name = document.createElement("b");
      name.textContent = labels[codes[i]].name;
      const across = `component ${Number(at("across").value) + 1}: ${xs[i].toPrecision(4)}`;
      const up = inStrips() ? "" : `, component ${Number(at("up").value) + 1}: ${ys[i].toPrecision(4)}`;
      words.append(name, paths[i], document.createElement("br"), across + up);
      tip.replaceChildren(...(pictures.has(i) ? [pictures.get(i)] : []), words);
      const x = toX(xs[i]), y = toY(ys[i]);
      at("ring").style.translate = `${x}px ${y}px`;
      tip.style.left = `${Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 4))}px`;
      tip.style.top = `${y + 18 + tip.offsetHeight < height ? y + 14 : Math.max(4, y - 14 - tip.offsetHeight)}px`;
    }
  }

  // What was clicked stays until it moves or is closed, so that its path can be copied.
  function keep(on) {
    kept = on;
    at("tip").classList.toggle("kept", on);
  }

  function forget() {
    keep(false);
    tell(-1);
  }

  // ---- what people do

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.offsetX, y: event.offsetY, moved: false };
    canvas.setPointerCapture(event.pointerId);
    forget();
    tell(nearest(held.x, held.y, 14));
    keep(told >= 0);
  });
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (held && (held.moved || Math.hypot(x - held.x, y - held.y) > 3)) {
      move(x - held.x, y - held.y);
      held = { x, y, moved: true };
    } else if (!held && !kept) tell(nearest(x, y, 14));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));
  canvas.addEventListener("pointerleave", () => kept || forget());
  canvas.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // until it is clicked, the page scrolls
    event.preventDefault();
    zoom(1.0015 ** -event.deltaY, event.offsetX, event.offsetY);
  });
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: showAll, Escape: forget,
    ArrowLeft: () => move(width / 10, 0), ArrowRight: () => move(-width / 10, 0),
    ArrowUp: () => move(0, height / 10), ArrowDown: () => move(0, -height / 10),
    Enter: () => {
      tell(nearest(width / 2, height / 2, Infinity));
      at("said").textContent = at("tip").innerText;
    },
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  at("closer").onclick = () => zoom(1.5);
  at("farther").onclick = () => zoom(1 / 1.5);
  at("whole").onclick = showAll;
  at("across").onchange = at("up").onchange = choose;
  at("pictures").onchange = at("labels").onchange = () => (forget(), redraw());
  at("find").oninput = () => {
    const wanted = at("find").value.toLowerCase();
    for (const label of labels) label.item.hidden = !label.name.toLowerCase().includes(wanted);
  };
  for (const [id, on] of [["all", true], ["none", false]]) {
    at(id).onclick = () => {
      for (const label of labels) if (!label.item.hidden) label.box.checked = on;
      redraw();
    };
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  for (const label of labels) label.box.disabled = false;
  at("explorer").hidden = at("choice").hidden = false;
  at("still").hidden = true;
  at("with-pictures").hidden = !pictures.size;
  const measure = () => ({ width, height } = canvas.getBoundingClientRect());
  measure();
  new ResizeObserver(() => (measure(), redraw())).observe(canvas);
  choose();
})();
