"use strict";

const find = (id) => document.getElementById(id);
let token = "";
let current = null; // the picture that is shown
let asked = 0; // only the newest answer counts

async function ask(path, settings = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...settings, headers });
  if (response.status === 401) {
    find("token-form").hidden = false;
    find("token").focus();
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `Status ${response.status}`);
  return answer;
}

async function introduce() {
  const model = await ask(`v2/models/${document.documentElement.dataset.model}`);
  const { class_names: classes, engine, max_body_bytes: most } = model.parameters;
  const some = classes.slice(0, 10).join(", ");
  const more = classes.length > 10 ? ` and ${classes.length - 10} more` : "";
  find("model").textContent = `The model ${model.name} (${engine}) tells apart: ${some}${more}.`;
  find("limit").textContent = `, ${(most / 1e6).toLocaleString("en")} MB at most`;
}

function say(text, kind = "muted") {
  find("status").className = kind;
  find("status").textContent = text;
}

function show(file) {
  if (current) URL.revokeObjectURL(current.url);
  current = { file, url: URL.createObjectURL(file) };
  const picture = find("picture");
  picture.onload = () => {
    picture.hidden = false;
    picture.classList.toggle("small", picture.naturalWidth < 160);
    const size = `${picture.naturalWidth} × ${picture.naturalHeight} pixels`;
    find("caption").textContent = `${file.name || "Pasted picture"}, ${size}`;
  };
  picture.onerror = () => {
    picture.hidden = true;
    find("heat").hidden = true;
    find("caption").textContent = "This browser cannot show this file.";
  };
  picture.alt = file.name || "Pasted picture";
  picture.src = current.url;
  find("heat").hidden = true;
  lay();
  find("shown").hidden = false;
  find("drop").classList.add("small");
}

async function look(className) {
  const number = ++asked;
  say("Looking at it …", "muted working");
  if (className === undefined) find("classes").replaceChildren();
  try {
    const query = className === undefined ? "" : `?class=${encodeURIComponent(className)}`;
    const answer = await ask(`explain${query}`, { method: "POST", body: current.file });
    if (number === asked) tell(answer);
  } catch (error) {
    if (number !== asked) return;
    say(error.message, "error");
    find("heat-settings").hidden = true;
  }
}

function tell(answer) {
  say(answer.heat ? "The most probable classes:" : `No heat: ${answer.reason}`);
  const rows = answer.classes.map((name, index) => row(name, answer.confidences[index], answer));
  const focused = document.activeElement.dataset.name;
  find("classes").replaceChildren(...rows);
  if (focused !== undefined) {
    const again = [...document.querySelectorAll("#classes button")];
    again.find((button) => button.dataset.name === focused)?.focus();
  }
  const heat = find("heat");
  const shown = Boolean(answer.heat) && !find("picture").hidden;
  heat.hidden = !shown;
  find("heat-settings").hidden = !shown;
  lay();
  if (!shown) return;
  heat.src = `data:image/png;base64,${answer.heat}`;
  heat.alt = `Where the evidence for ${answer.explained} lies`;
  find("explained").textContent = answer.explained;
}

/** Lay the heat over the picture, which loses its colours as far as the heat shows. */
function lay() {
  const share = find("heat").hidden ? 0 : find("opacity").value / 100;
  find("heat").style.opacity = share;
  find("picture").style.filter = `grayscale(${share})`;
}

function row(name, share, answer) {
  const part = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.name = name;
  button.setAttribute("aria-pressed", String(name === answer.explained && Boolean(answer.heat)));
  const bar = part("span", "bar", "");
  bar.append(part("i", "", ""));
  bar.firstChild.style.width = `${100 * share}%`;
  const percent = `${(100 * share).toFixed(1)} %`;
  button.append(part("span", "name", name), part("span", "share", percent), bar);
  button.addEventListener("click", () => look(name));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function take(files) {
  const [file] = files;
  if (!file) return;
  show(file);
  look();
}

find("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
});
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", over);
  });
}
document.addEventListener("drop", (event) => take(event.dataTransfer.files));
document.addEventListener("paste", (event) => take(event.clipboardData.files));
find("opacity").addEventListener("input", lay);
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  find("token-form").hidden = true;
  introduce().then(() => current && look()).catch((error) => say(error.message, "error"));
});
introduce().catch((error) => {
  if (!find("token-form").hidden) say("No picture yet.");
  else say(error.message, "error");
});
