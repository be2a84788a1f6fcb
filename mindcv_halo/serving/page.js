"use strict";

const $ = (id) => document.getElementById(id);
const MEAN = "mean";
const INFERNO = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

let model = null;     // what /api/model says
let upload = null;    // the image that was chosen, as it came
let answer = null;    // the last answer of /api/predict
let picture = null;   // answer.view, decoded
let head = MEAN;      // the head that the large picture shows
let query = null;     // [row, column] that was asked for last; null is the middle
let running = false;  // whether a request is under way
let outdated = false; // whether something else was asked for since it was sent

async function start() {
  try {
    model = await readJson(await fetch("/api/model"));
  } catch (error) {
    return say(error.message, true);
  }
  const [height, width] = model.image_size;
  $("model").textContent =
    `${model.model}, ${model.num_classes.toLocaleString("en")} classes, images of ${width} x ${height} pixels`;
  for (const layer of model.attention_layers) $("layer").append(new Option(layer, layer));
  $("layer").selectedIndex = model.attention_layers.length - 1;
  $("row").max = height - 1;
  $("column").max = width - 1;
  $("looking").hidden = $("heads-section").hidden = !model.attention_layers.length;
  $("example").textContent =
    `curl --data-binary @image.jpg -H 'Content-Type: image/jpeg' ${location.origin}/api/predict`;
  ask();  // an image that was chosen before the model was known
}

function choose(file) {
  if (!file) return;
  if (model && file.size > model.max_bytes) {
    return say(`The file has ${file.size.toLocaleString("en")} bytes; at most ${model.max_bytes.toLocaleString("en")} are taken.`, true);
  }
  upload = file;
  query = null;
  ask();
}

/** Ask for what is chosen now. One request at a time: the server computes each that it gets, wanted still or not. */
async function ask() {
  if (!upload || !model) return;
  outdated = true;
  say("Computing ...");
  $("looking").classList.add("busy");
  if (running) return;
  running = true;
  while (outdated) {
    outdated = false;
    await askOnce();
  }
  running = false;
  $("looking").classList.remove("busy");
}

async function askOnce() {
  const sent = upload;
  const params = new URLSearchParams();
  if (model.attention_layers.length) {
    params.set("layer", $("layer").value);
    if (query) { params.set("y", query[0]); params.set("x", query[1]); }
  }
  try {
    const response = await fetch(`/api/predict?${params}`, {
      method: "POST", body: sent,
      headers: {"Content-Type": sent.type.startsWith("image/") ? sent.type : "application/octet-stream"},
    });
    const received = await readJson(response);
    const image = received.view ? await decode(received.view) : null;
    if (sent !== upload) return;
    [answer, picture] = [received, image];
    show();
    if (!outdated) say(`Done in ${answer.seconds.toFixed(2)} s.`);
  } catch (error) {
    if (!outdated) say(error.message, true);
  }
}

async function readJson(response) {
  const content = await response.json().catch(() => ({error: `The server answered ${response.status}.`}));
  if (!response.ok) throw new Error(content.error ?? `The server answered ${response.status}.`);
  return content;
}

function decode(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("The server's picture cannot be shown."));
    image.src = url;
  });
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

function show() {
  $("result").hidden = false;
  $("name").textContent = upload.name ?? "";
  $("classes").replaceChildren(...answer.predictions.map(showClass));
  if (!answer.attention) return;
  if (head !== MEAN && head >= answer.attention.weights.length) head = MEAN;
  if (!query) query = model.image_size.map((side) => Math.floor(side / 2));
  [$("row").value, $("column").value] = query;
  showHeads();
  drawView();
}

function showClass({name, label, probability}) {
  const item = document.createElement("li");
  const parts = ["bar", "name", "share"].map((style) => {
    const part = document.createElement("span");
    part.className = style;
    return part;
  });
  const [bar, text, share] = parts;
  bar.style.width = `${100 * probability}%`;
  text.textContent = name;
  text.title = `${name} (label ${label})`;
  share.textContent = `${(100 * probability).toFixed(1)} %`;
  item.append(...parts);
  return item;
}

// ---- Attention

function weightsOf(which) {
  const {weights} = answer.attention;
  if (which !== MEAN) return weights[which];
  return weights[0].map((row, i) => row.map((_, j) => weights.reduce((sum, one) => sum + one[i][j], 0) / weights.length));
}

function outsideOf(which) {
  const {outside} = answer.attention;
  return which === MEAN ? outside.reduce((sum, one) => sum + one, 0) / outside.length : outside[which];
}

const titleOf = (which) => (which === MEAN ? "mean of the heads" : `head ${which}`);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const largest = (weights) => Math.max(...weights.map((row) => Math.max(...row)));

function showHeads() {
  const all = [MEAN, ...answer.attention.weights.keys()];
  const focused = document.activeElement?.dataset?.head;
  $("heads").replaceChildren(...all.map((which) => {
    const button = document.createElement("button");
    const canvas = document.createElement("canvas");
    button.type = "button";
    button.dataset.head = which;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", which === head);
    button.tabIndex = which === head ? 0 : -1;
    const texts = [which === MEAN ? "mean" : `head ${which}`, percent(largest(weightsOf(which)))];
    button.append(canvas, ...texts.map((text) => {
      const line = document.createElement("span");
      line.textContent = text;
      return line;
    }));
    button.addEventListener("click", () => pick(which));
    button.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      pick(all[(all.indexOf(which) + step + all.length) % all.length]);
    });
    drawHead(canvas, which);
    return button;
  }));
  if (focused !== undefined) $("heads").querySelector(`[data-head="${head}"]`)?.focus();
}

function pick(which) {
  head = which;
  showHeads();
  $("heads").querySelector(`[data-head="${head}"]`).focus();
  drawView();
}

function prepare(canvas, size) {
  const scale = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = size.map((side) => Math.round(side * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  return context;
}

/** Draw what lies in `area` ([top, left, bottom, right] of the image): the image, the weights and the frames. */
function draw(context, area, which, {grey, lineWidth}) {
  const {attention} = answer;
  const [top, left, bottom, right] = area;
  const scale = context.canvas.width / (right - left);
  const place = ([t, l, b, r]) => [(l - left) * scale, (t - top) * scale, (r - l) * scale, (b - t) * scale];
  const [height, width] = model.image_size;
  const style = getComputedStyle(document.documentElement);
  context.fillStyle = style.getPropertyValue("--outside");
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  context.filter = grey ? "grayscale(1) contrast(.5) brightness(1.2)" : "none";
  context.drawImage(picture, ...place([0, 0, height, width]));
  context.filter = "none";

  const weights = weightsOf(which);
  const peak = largest(weights);
  const {stride} = attention;
  context.globalAlpha = grey ? 0.78 : 0.6;
  weights.forEach((row, i) => row.forEach((weight, j) => {
    const y = attention.window[0] + i * stride;
    const x = attention.window[1] + j * stride;
    const [px, py, w, h] = place([y, x, y + stride, x + stride]);
    context.fillStyle = colour(weight / peak);
    // Whole pixels of the screen: gaps between the squares, or overlaps, would show as a grid.
    const [x0, y0] = [Math.round(px), Math.round(py)];
    context.fillRect(x0, y0, Math.round(px + w) - x0, Math.round(py + h) - y0);
  }));
  context.globalAlpha = 1;
  for (const [name, box] of [["window", attention.window], ["block", attention.block], ["query", attention.query]]) {
    for (const [ink, width_] of [["#000", lineWidth + 2], [style.getPropertyValue(`--${name}`), lineWidth]]) {
      context.strokeStyle = ink;
      context.lineWidth = width_ * (window.devicePixelRatio || 1);
      context.strokeRect(...place(box));
    }
  }
}

function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (INFERNO.length - 1);
  const low = Math.min(Math.floor(at), INFERNO.length - 2);
  const mixed = INFERNO[low].map((from, k) => Math.round(from + (at - low) * (INFERNO[low + 1][k] - from)));
  return `rgb(${mixed.join(" ")})`;
}

function drawHead(canvas, which) {
  draw(prepare(canvas, [140, 140]), answer.attention.window, which, {grey: true, lineWidth: 1});
}

function drawView() {
  const canvas = $("view");
  const [height, width] = model.image_size;
  canvas.style.aspectRatio = `${width} / ${height}`;
  const shown = canvas.clientWidth || 512;
  draw(prepare(canvas, [shown, (shown * height) / width]), [0, 0, height, width], head, {grey: false, lineWidth: 3});
  const {attention} = answer;
  const [top, left, bottom, right] = attention.query;
  const outside = outsideOf(head);
  const text =
    `Layer ${attention.layer}, ${titleOf(head)}: the query at rows ${top} to ${bottom - 1}, columns ${left} to ` +
    `${right - 1} gives its largest weight, ${percent(largest(weightsOf(head)))}, to one square of ` +
    `${attention.stride} x ${attention.stride} pixels` + (outside >= 0.0005 ? `, and ${percent(outside)} to what lies outside the image.` : ".");
  $("summary").textContent = text;
  canvas.setAttribute("aria-label", "What the network saw of the image, with the weights of the query's window");
}

function move(row, column) {
  const inside = (value, side) => Math.min(Math.max(Math.round(value), 0), side - 1);
  query = [inside(row, model.image_size[0]), inside(column, model.image_size[1])];
  ask();
}

// ---- What the user does

$("file").addEventListener("change", (event) => choose(event.target.files[0]));
$("layer").addEventListener("change", ask);
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  move(Number($("row").value), Number($("column").value));
});
$("view").addEventListener("click", (event) => {
  if (!answer?.attention) return;
  const box = $("view").getBoundingClientRect();
  const [height, width] = model.image_size;
  move(Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width));
});
$("view").addEventListener("keydown", (event) => {
  const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
  if (!step || !answer?.attention) return;
  event.preventDefault();
  move(query[0] + step[0] * answer.attention.stride, query[1] + step[1] * answer.attention.stride);
});
document.addEventListener("paste", (event) => choose([...event.clipboardData.files][0]));
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  choose(event.dataTransfer.files[0]);
});
addEventListener("resize", () => { if (answer?.attention) drawView(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (answer?.attention) { showHeads(); drawView(); } });

start();
