"use strict";
// The interactive scatter plot. Reads the points from the data block, and the labels and markers from the label list.

(async () => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const decompress = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const count = data.count;
  const scores = new Float32Array(await decompress(data.scores)); // one component after the other
  const codes = new Uint32Array(await decompress(data.codes));
  const paths = new TextDecoder().decode(await decompress(data.paths)).split("\n");

  const labels = [...byId("labels").children].map((item) => ({
    item,
    checkbox: item.querySelector("input"),
    name: item.querySelector("bdi").textContent,
    shape: new Path2D(item.querySelector("path").getAttribute("d")),
    color: item.querySelector("svg").getAttribute("color"),
  }));
  const thumbnails = new Map();
  for (const [index, source] of Object.entries(data.thumbnails)) {
    const image = new Image();
    image.onload = redraw;
    image.src = source;
    thumbnails.set(Number(index), image);
  }

  for (const label of labels) label.points = [];
  for (let i = 0; i < count; i++) labels[codes[i]].points.push(i);
  const bySize = [...labels].sort((one, other) => other.points.length - one.points.length);

  // ---- components and visible area

  const canvas = byId("plot");
  const context = canvas.getContext("2d");
  const BY_LABEL = "label"; // value of the y axis: one strip per label instead of a second component
  const MAX_RESULTS = 100; // of a search
  const THUMBNAIL_SIZE = 40; // in the plot, in pixels
  const strips = new Float32Array(count);
  for (let i = 0; i < count; i++) strips[i] = -codes[i] + (((i * 0.6180339887) % 1) - 0.5) * 0.6;
  const view = { x: 0, y: 0, scaleX: 1, scaleY: 1 }; // center, and pixels per unit
  let xs, ys, width, height, shownPoint = -1, pinned = false, frame = 0, redrawTimer = 0;
  let drawnThumbnails = []; // [x, y, index] of each thumbnail in the plot

  const componentName = (c) => `component ${c + 1}, ${(100 * data.ratios[c]).toFixed(1)}% of the variance`;
  data.ratios.forEach((_, c) => {
    for (const menu of [byId("x-axis"), byId("y-axis")]) menu.add(new Option(componentName(c), c));
  });
  byId("y-axis").add(new Option("one strip per label", BY_LABEL));
  byId("y-axis").value = data.ratios.length > 1 ? "1" : BY_LABEL;

  const column = (c) => scores.subarray(c * count, (c + 1) * count);
  const showsStrips = () => byId("y-axis").value === BY_LABEL;
  const isSelected = (i) => labels[codes[i]].checkbox.checked;
  const toPixelX = (x) => width / 2 + (x - view.x) * view.scaleX;
  const toPixelY = (y) => height / 2 - (y - view.y) * view.scaleY;

  function selectComponents() {
    xs = column(Number(byId("x-axis").value));
    ys = showsStrips() ? strips : column(Number(byId("y-axis").value));
    for (const label of labels) label.center = [median(xs, label.points), median(ys, label.points)];
    showAll();
  }

  const median = (values, chosen) => Float32Array.from(chosen, (i) => values[i]).sort()[chosen.length >> 1];

  function showAll() {
    const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [left, right] = range(xs);
    const [bottom, top] = showsStrips() ? [0.5 - labels.length, 0.5] : range(ys);
    view.x = (left + right) / 2;
    view.y = (bottom + top) / 2;
    view.scaleX = (0.92 * width) / (right - left || 1);
    view.scaleY = (0.9 * height) / (top - bottom || 1);
    // Equal scales, so that distances in the plot are distances between the scores.
    if (!showsStrips()) view.scaleX = view.scaleY = Math.min(view.scaleX, view.scaleY);
    closeTooltip();
    redraw();
  }

  function zoom(factor, x = width / 2, y = height / 2) {
    view.x += ((x - width / 2) / view.scaleX) * (1 - 1 / factor);
    view.y -= ((y - height / 2) / view.scaleY) * (1 - 1 / factor);
    view.scaleX *= factor;
    view.scaleY *= factor;
    closeTooltip();
    redrawSample();
  }

  function pan(right, down) {
    view.x -= right / view.scaleX;
    view.y += down / view.scaleY;
    closeTooltip();
    redrawSample();
  }

  // ---- drawing

  function redraw() {
    frame ||= requestAnimationFrame(() => draw(count));
  }

  // During pan and zoom, draw only the first points. The points are shuffled, so these are an even sample.
  function redrawSample() {
    clearTimeout(redrawTimer);
    redrawTimer = setTimeout(redraw, 120);
    frame ||= requestAnimationFrame(() => draw(Math.min(count, 15000)));
  }

  function draw(limit) {
    frame = 0;
    const started = performance.now();
    const ratio = window.devicePixelRatio;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    drawGrid();
    const radius = Math.min(5, Math.max(2.5, 40 / Math.sqrt(Math.sqrt(count))));
    const markers = labels.map((label) => renderMarker(label, radius, ratio));
    const half = markers[0].width / ratio / 2;
    for (let i = 0; i < limit; i++) {
      const x = toPixelX(xs[i]), y = toPixelY(ys[i]);
      if (x < -half || y < -half || x > width + half || y > height + half || !isSelected(i)) continue;
      // Aligned with the pixels, a marker is sharp and faster to draw.
      const left = Math.round((x - half) * ratio) / ratio, top = Math.round((y - half) * ratio) / ratio;
      context.drawImage(markers[codes[i]], left, top, 2 * half, 2 * half);
    }
    drawnThumbnails = [];
    if (byId("thumbnails").checked) drawThumbnails();
    drawNames();
    canvas.dataset.points = limit; // read by tests
    canvas.dataset.milliseconds = Math.round(performance.now() - started);
  }

  function renderMarker(label, radius, ratio) {
    const marker = document.createElement("canvas");
    marker.width = marker.height = Math.ceil(2 * (radius + 1) * ratio);
    const brush = marker.getContext("2d");
    brush.translate(marker.width / 2, marker.width / 2);
    brush.scale(radius * ratio, radius * ratio);
    brush.globalAlpha = 0.8;
    brush.fillStyle = label.color;
    brush.fill(label.shape);
    return marker;
  }

  function drawGrid() {
    const style = getComputedStyle(document.documentElement);
    context.font = "12px system-ui, sans-serif";
    context.strokeStyle = style.getPropertyValue("--grid");
    context.fillStyle = style.getPropertyValue("--muted");
    context.beginPath();
    for (const x of ticks(view.x, width / view.scaleX)) {
      context.moveTo(toPixelX(x), 0);
      context.lineTo(toPixelX(x), height);
      context.fillText(String(x), toPixelX(x) + 3, height - 6);
    }
    if (showsStrips()) {
      const step = Math.ceil(13 / view.scaleY);
      labels.forEach((label, code) => code % step || context.fillText(label.name, 6, toPixelY(-code) + 4, 200));
    } else {
      for (const y of ticks(view.y, height / view.scaleY)) {
        context.moveTo(0, toPixelY(y));
        context.lineTo(width, toPixelY(y));
        context.fillText(String(y), 6, toPixelY(y) - 4);
      }
    }
    context.stroke();
  }

  // About six round numbers in the interval of length `span` around `center`.
  function ticks(center, span) {
    const rough = span / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const first = Math.ceil((center - span / 2) / step);
    return Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
  }

  function drawThumbnails() {
    const size = THUMBNAIL_SIZE;
    for (const [i, image] of thumbnails) {
      const x = toPixelX(xs[i]), y = toPixelY(ys[i]);
      const overlaps = drawnThumbnails.some(([a, b]) => Math.abs(a - x) < size && Math.abs(b - y) < size);
      if (overlaps || !isSelected(i) || !image.naturalWidth) continue;
      drawnThumbnails.push([x, y, i]);
      context.fillStyle = labels[codes[i]].color;
      context.fillRect(x - size / 2, y - size / 2, size, size);
      context.drawImage(image, x - size / 2 + 2, y - size / 2 + 2, size - 4, size - 4);
    }
  }

  // Draw the name of each label at the median of its points, above a single marker. Large labels come first; a name that
  // would cover another one is left out until there is room after zooming in.
  function drawNames() {
    const drawn = [];
    if (byId("names").checked && !showsStrips()) {
      const style = getComputedStyle(document.documentElement);
      context.font = "600 13px system-ui, sans-serif";
      context.strokeStyle = style.getPropertyValue("--background");
      context.fillStyle = style.getPropertyValue("--text");
      context.lineWidth = 4;
      context.lineJoin = "round";
      for (const { name, checkbox, center } of bySize) {
        const text = name.length > 26 ? `${name.slice(0, 25)}…` : name;
        const half = context.measureText(text).width / 2 + 3;
        const x = Math.max(half, Math.min(width - half, toPixelX(center[0]))), y = toPixelY(center[1]) - 12;
        const isVisible = checkbox.checked && Math.abs(x - toPixelX(center[0])) < half && y > 14 && y < height;
        if (!isVisible || drawn.some(([, a, b, other]) => Math.abs(a - x) < half + other && Math.abs(b - y) < 18)) continue;
        drawn.push([name, x, y, half]);
        context.strokeText(text, x + 3 - half, y);
        context.fillText(text, x + 3 - half, y);
      }
    }
    canvas.dataset.names = JSON.stringify(drawn); // read by tests
  }

  // ---- tooltip

  // Index of the nearest point within `radius` pixels; -1 if there is none.
  function nearest(x, y, radius) {
    const thumbnail = drawnThumbnails.find(([a, b]) => Math.max(Math.abs(a - x), Math.abs(b - y)) < THUMBNAIL_SIZE / 2);
    if (thumbnail) return thumbnail[2];
    let found = -1, smallest = radius * radius;
    for (let i = 0; i < count; i++) {
      const distance = (toPixelX(xs[i]) - x) ** 2 + (toPixelY(ys[i]) - y) ** 2;
      if (distance < smallest && isSelected(i)) [found, smallest] = [i, distance];
    }
    return found;
  }

  // Show the tooltip of a point; hide it if `i` is -1.
  function showTooltip(i) {
    if (i === shownPoint) return;
    shownPoint = i;
    const tooltip = byId("tooltip");
    tooltip.hidden = byId("ring").hidden = i < 0;
    if (i >= 0) {
      const text = document.createElement("div");
      const name = document.createElement("b");
      name.textContent = labels[codes[i]].name;
      const xScore = `component ${Number(byId("x-axis").value) + 1}: ${xs[i].toPrecision(4)}`;
      const yScore = showsStrips() ? "" : `, component ${Number(byId("y-axis").value) + 1}: ${ys[i].toPrecision(4)}`;
      text.append(name, paths[i], document.createElement("br"), xScore + yScore);
      tooltip.replaceChildren(...(thumbnails.has(i) ? [thumbnails.get(i)] : []), text);
      const x = toPixelX(xs[i]), y = toPixelY(ys[i]);
      byId("ring").style.translate = `${x}px ${y}px`;
      tooltip.style.left = `${Math.max(4, Math.min(x + 14, width - tooltip.offsetWidth - 4))}px`;
      tooltip.style.top = `${y + 18 + tooltip.offsetHeight < height ? y + 14 : Math.max(4, y - 14 - tooltip.offsetHeight)}px`;
    }
  }

  // A pinned tooltip stays until the view changes or it is closed, so that its path can be copied.
  function pinTooltip(on) {
    pinned = on;
    byId("tooltip").classList.toggle("pinned", on);
  }

  // Center an image in the plot and open its tooltip.
  function goTo(i) {
    closeTooltip();
    labels[codes[i]].checkbox.checked = true;
    [view.x, view.y] = [xs[i], ys[i]];
    redraw();
    showTooltip(i);
    pinTooltip(true);
    byId("status").textContent = byId("tooltip").innerText;
    canvas.focus();
  }

  function closeTooltip() {
    pinTooltip(false);
    showTooltip(-1);
  }

  // ---- events

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.offsetX, y: event.offsetY, moved: false };
    canvas.setPointerCapture(event.pointerId);
    closeTooltip();
    showTooltip(nearest(drag.x, drag.y, 14));
    pinTooltip(shownPoint >= 0);
  });
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (drag && (drag.moved || Math.hypot(x - drag.x, y - drag.y) > 3)) {
      pan(x - drag.x, y - drag.y);
      drag = { x, y, moved: true };
    } else if (!drag && !pinned) showTooltip(nearest(x, y, 14));
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => (drag = null));
  canvas.addEventListener("pointerleave", () => pinned || closeTooltip());
  canvas.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls until the plot is clicked
    event.preventDefault();
    zoom(1.0015 ** -event.deltaY, event.offsetX, event.offsetY);
  });
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: showAll, Escape: closeTooltip,
    ArrowLeft: () => pan(width / 10, 0), ArrowRight: () => pan(-width / 10, 0),
    ArrowUp: () => pan(0, height / 10), ArrowDown: () => pan(0, -height / 10),
    Enter: () => {
      showTooltip(nearest(width / 2, height / 2, Infinity));
      byId("status").textContent = byId("tooltip").innerText;
    },
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  byId("zoom-in").onclick = () => zoom(1.5);
  byId("zoom-out").onclick = () => zoom(1 / 1.5);
  byId("show-all").onclick = showAll;
  byId("x-axis").onchange = byId("y-axis").onchange = selectComponents;
  byId("names").onchange = byId("thumbnails").onchange = byId("labels").onchange = () => (closeTooltip(), redraw());
  byId("filter").oninput = () => {
    const text = byId("filter").value.toLowerCase();
    for (const label of labels) label.item.hidden = !label.name.toLowerCase().includes(text);
  };
  byId("search").oninput = () => {
    // Tables name locations as Spark writes them.
    const text = byId("search").value.trim().toLowerCase().replace(/^file:\/+/, "/").replace(/^s3a:/, "s3:");
    const matches = (i) => paths[i].toLowerCase().includes(text);
    const found = text ? Array.from(paths.keys()).filter(matches) : [];
    const shown = found.sort((i, j) => (paths[i] < paths[j] ? -1 : 1)).slice(0, MAX_RESULTS);
    const more = found.length > shown.length ? `, the first ${shown.length} are listed` : "";
    byId("found").textContent = text ? `${found.length} ${found.length === 1 ? "image" : "images"} found${more}` : "";
    byId("results").replaceChildren(...shown.map((i) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.textContent = paths[i];
      button.onclick = () => goTo(i);
      item.append(button);
      return item;
    }));
  };
  for (const [id, on] of [["select-all", true], ["select-none", false]]) {
    byId(id).onclick = () => {
      for (const label of labels) if (!label.item.hidden) label.checkbox.checked = on;
      redraw();
    };
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  for (const label of labels) label.checkbox.disabled = false;
  byId("explorer").hidden = byId("label-controls").hidden = false;
  byId("static-plot").hidden = true;
  byId("thumbnails-option").hidden = !thumbnails.size;
  const measure = () => ({ width, height } = canvas.getBoundingClientRect());
  measure();
  new ResizeObserver(() => (measure(), redraw())).observe(canvas);
  selectComponents();
})();
