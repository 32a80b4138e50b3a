const images = new Map(study.images.map(one => [one.id, one]));
let participant = null, started = null, answers = new Map(), order = [], at = 0;
let stage = "label", typed = "", shown = null, unsaved = false;

function orderOf(person) {  // the same for a person each time: mulberry32, seeded by FNV-1a of study and person
  let seed = 2166136261;
  for (const letter of study.id + person) seed = Math.imul(seed ^ letter.charCodeAt(0), 16777619);
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const mixed = [...images.keys()];
  for (let n = mixed.length - 1; n > 0; n--) {
    const other = Math.floor(random() * (n + 1));
    [mixed[n], mixed[other]] = [mixed[other], mixed[n]];
  }
  return mixed;
}

const complete = one => Boolean(one) && (one.label === null || one.confidence !== null);
const finished = () => order.filter(id => complete(answers.get(id))).length;
const firstOpen = () => { const n = order.findIndex(id => !complete(answers.get(id))); return n < 0 ? order.length : n; };

function see(name) { for (const part of ["start", "task", "end"]) byId(part).hidden = part !== name; }

async function showStart() {
  const people = await keptPeople();
  const place = byId("people");
  place.replaceChildren();
  const add = (text, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.onclick = action;
    place.append(button);
    return button;
  };
  const known = [...people].sort((a, b) => (b[1].started ?? "").localeCompare(a[1].started ?? ""));
  const first = known.map(([name, person]) => {
    const count = [...person.answers.values()].filter(complete).length;
    return add(`Go on as ${name}: ${count} of ${images.size} answered`, () => begin(name, person));
  });
  const fresh = add(known.length ? "Start as another person" : "Start", () => begin(newName(), null));
  fresh.className = "main";
  fresh.id = "fresh";
  see("start");
  (first[0] ?? fresh).focus();
}

function newName() {
  return [...crypto.getRandomValues(new Uint8Array(6))].map(n => n.toString(16).padStart(2, "0")).join("");
}

function begin(name, person) {
  participant = name;
  answers = person?.answers ?? new Map();
  started = person?.started ?? now();
  if (!person?.started) keep({ participant, image: "", answered: started });
  try { history.replaceState(null, "", `#${name}`); } catch { /* a reload then asks who it is */ }
  order = orderOf(name);
  at = firstOpen();
  at < order.length ? showImage() : showEnd();
}

function showImage() {
  see("task");
  stage = "label";
  typed = "";
  shown = answers.get(order[at])?.shown ?? now();
  byId("picture").src = images.get(order[at]).src;
  say("");
  draw();
  byId("label").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function draw() {
  const answer = answers.get(order[at]);
  byId("count").textContent = `image ${at + 1} of ${order.length}, ${finished()} answered`;
  byId("done").value = finished();
  for (const button of document.querySelectorAll("[data-label]")) {
    const own = button.dataset.label === "" ? null : Number(button.dataset.label);
    button.setAttribute("aria-pressed", String(Boolean(answer) && answer.label === own));
  }
  for (const button of document.querySelectorAll("[data-confidence]")) {
    button.disabled = !answer || answer.label === null;
    button.setAttribute("aria-pressed", String(answer?.confidence === Number(button.dataset.confidence)));
  }
  byId("label").classList.toggle("now", stage === "label");
  byId("confidence").classList.toggle("now", stage === "confidence");
  byId("back").disabled = at === 0 && stage === "label";
}

function toStage() {  // whatever is asked now has the focus and is in sight
  byId(stage).focus({ preventScroll: true });
  byId(stage).scrollIntoView({ block: "nearest" });
}

function say(text) {
  byId("said").textContent = text;
  delete byId("said").dataset.kept;  // until what was just given is
}

function record(label, confidence) {
  const image = order[at];
  const one = { participant, image, label, confidence, shown, answered: now() };
  answers.set(image, one);
  unsaved = true;
  keep(one);
}

function choose(label) {
  const before = answers.get(order[at]);
  typed = "";
  if (!before || before.label !== label) record(label, null);
  stage = label === null ? "label" : "confidence";
  say(label === null ? "You cannot tell. Enter goes on." : `${study.classes[label]}. How sure are you, 1 to 5?`);
  draw();
  toStage();
}

function rate(confidence) {
  const answer = answers.get(order[at]);
  if (!answer || answer.label === null) return say("Choose what you see first.");
  if (answer.confidence !== confidence) record(answer.label, confidence);
  stage = "confidence";
  say(`${study.classes[answer.label]}, sure: ${confidence} of 5. Enter goes on.`);
  draw();
  toStage();
}

function number(digit) {
  if (stage === "confidence") return digit >= "1" && digit <= "5" ? rate(Number(digit)) : say("1 to 5, or Backspace to choose again.");
  const width = String(study.classes.length - 1).length;
  typed += digit;
  if (Number(typed) >= study.classes.length) {
    say(`There is no class ${typed}.`);
    typed = "";
  } else if (typed.length >= width) choose(Number(typed));
  else say(`${typed} ${study.classes[Number(typed)]}: Enter, or another digit.`);
}

function goOn() {
  if (typed !== "") return choose(Number(typed));
  const answer = answers.get(order[at]);
  if (!answer) return say("Choose what you see first, or say that you cannot tell.");
  if (!complete(answer)) {
    stage = "confidence";
    say("How sure are you, 1 to 5?");
    draw();
    return toStage();
  }
  at += 1;
  if (at >= order.length && firstOpen() < order.length) at = firstOpen();
  at < order.length ? showImage() : showEnd();
}

function goBack() {
  if (typed !== "") { typed = typed.slice(0, -1); return say(typed); }
  if (stage === "confidence") { stage = "label"; say("Choose again, or Enter to go on."); draw(); return toStage(); }
  if (at > 0) { at -= 1; showImage(); }
}

async function content() {
  const other = (await keptPeople()).get(participant)?.answers ?? new Map();  // of another tab
  for (const [image, one] of other) if (!(answers.get(image)?.answered >= one.answered)) answers.set(image, one);
  const given = order.filter(id => answers.has(id)).map(id => {
    const { image, label, confidence, shown, answered } = answers.get(id);
    return { image, label, confidence, shown, answered };
  });
  const head = { format: "keras_adv study answers", version: 1, study: study.id, participant, started, saved: now() };
  return JSON.stringify({ ...head, answers: given }, null, 1) + "\n";
}

async function showEnd() {
  byId("text").value = await content();
  byId("sum").textContent = `${finished()} of ${order.length} images answered.`
    + (finished() < order.length ? " You may go on now or later, on this device." : " Thank you.")
    + " Save the file and hand it over.";
  byId("again").hidden = finished() === order.length;
  byId("file").textContent = "";
  see("end");
  byId("save").focus();
}

async function save() {
  const text = byId("text").value = await content();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${study.id}-${participant}.json`;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  byId("file").textContent = `Saved as ${link.download}, where this browser puts its downloads.`;
}

function copy() {
  byId("text").select();
  const done = document.execCommand("copy");
  byId("file").textContent = done ? "Copied." : "Marked: copy it with the browser's own menu.";
  unsaved = unsaved && !done;
}

addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return;
  if (byId("task").hidden) return;
  const own = event.target.closest?.("button");  // a button that has the focus answers to these itself
  if (own && (event.key === "Enter" || event.key === " ")) return;
  const key = event.key.toLowerCase();
  if (/^[0-9]$/.test(key)) number(key);
  else if (key === "?" || key === "u") choose(null);
  else if (key === "enter") goOn();
  else if (key === "backspace") goBack();
  else if (key === "s") showEnd();
  else return;
  event.preventDefault();
});
for (const button of document.querySelectorAll("[data-label]"))
  button.onclick = () => choose(button.dataset.label === "" ? null : Number(button.dataset.label));
for (const button of document.querySelectorAll("[data-confidence]"))
  button.onclick = () => rate(Number(button.dataset.confidence));
byId("next").onclick = goOn;
byId("back").onclick = goBack;
byId("stop").onclick = showEnd;
byId("save").onclick = save;
byId("copy").onclick = copy;
byId("again").onclick = () => { at = firstOpen(); showImage(); };
byId("other").onclick = () => {
  try { history.replaceState(null, "", "#"); } catch { /* a reload then goes on as the one before */ }
  participant = null;
  showStart();
};
addEventListener("beforeunload", event => {
  if ((kept.pending && !kept.local) || (unsaved && (kept.failed || (!kept.database && !kept.local)))) event.preventDefault();
});

(async () => {
  [kept.database, kept.local] = [await openDatabase(), localWorks()];
  navigator.storage?.persist?.().catch(() => {});
  tellOfStorage();
  const name = location.hash.slice(1);
  const person = (await keptPeople()).get(name);
  person ? begin(name, person) : await showStart();
  document.body.dataset.ready = "yes";
})();
