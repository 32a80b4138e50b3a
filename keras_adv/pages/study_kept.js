"use strict";
const study = JSON.parse(document.getElementById("study").textContent);
const byId = id => document.getElementById(id);
const now = () => new Date().toISOString();
const DATABASE = "keras_adv_study", RECORDS = "records", PREFIX = `${DATABASE} ${study.id} `;

/* What is kept: a record for each answer of each person, so that no tab and no person overwrites another's.
   IndexedDB with durability "strict" is on the disk when a write is complete; localStorage is written at once
   but reaches the disk seconds later, and is the second copy, for a reload within a write. */
const kept = { database: null, local: false, pending: 0, failed: false, lost: new Map() };

function openDatabase() {
  return new Promise(done => {
    setTimeout(() => done(null), 4000);
    try {
      const asked = indexedDB.open(DATABASE, 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore(RECORDS);
      asked.onsuccess = () => done(asked.result);
      asked.onerror = asked.onblocked = () => done(null);
    } catch { done(null); }
  });
}

function localWorks() {
  try {
    localStorage.setItem(PREFIX, "1");
    const works = localStorage.getItem(PREFIX) === "1";
    localStorage.removeItem(PREFIX);
    return works;
  } catch { return false; }
}

function tellOfStorage() {
  const said = !kept.database && !kept.local
    ? "This browser keeps nothing for this page (private mode?): a reload or a closed tab loses your answers. "
      + "Use another browser, or save the file before you leave."
    : kept.failed ? "An answer could not be kept on this device (is it full?): save the file now."
    : !kept.database ? "This browser keeps answers only loosely: a crash may lose the last seconds." : "";
  byId("storage").textContent = said;
  byId("storage").hidden = !said;
}

function keep(record) {  // and again whatever could not be kept before
  kept.lost.set(nameOf(record), record);
  for (const one of [...kept.lost.values()]) write(one);
}

function nameOf(record) { return `${PREFIX}${record.participant} ${record.image}`; }

function write(record) {
  const name = nameOf(record);
  let good = false;
  if (kept.local) {
    try { localStorage.setItem(name, JSON.stringify(record)); good = true; } catch { /* it is full */ }
  }
  const finish = () => {
    if (good && kept.lost.get(name) === record) kept.lost.delete(name);
    kept.failed = !kept.pending && kept.lost.size > 0;
    tellOfStorage();
  };
  if (!kept.database) return finish();
  const done = onDisk => {
    kept.pending -= 1;
    good ||= onDisk;
    finish();
    if (!kept.pending && !kept.failed) byId("said").dataset.kept = "yes";
  };
  kept.pending += 1;
  try {
    const change = kept.database.transaction(RECORDS, "readwrite", { durability: "strict" });
    change.objectStore(RECORDS).put(record, name);
    change.commit?.();
    change.oncomplete = () => done(true);  // last: where a line above throws, a transaction of nothing completes
    change.onabort = () => done(false);
  } catch { done(false); }
}

function everything() {
  if (!kept.database) return Promise.resolve([]);
  return new Promise(done => {
    try {
      const range = IDBKeyRange.bound(PREFIX, PREFIX + "\uffff");
      const asked = kept.database.transaction(RECORDS).objectStore(RECORDS).getAll(range);
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => done([]);
    } catch { done([]); }
  });
}

async function keptPeople() {  // participant -> {started, answers: image -> record}; of two copies the newest
  const records = await everything();
  for (let n = 0; kept.local && n < localStorage.length; n++) {
    const name = localStorage.key(n);
    if (!name.startsWith(PREFIX)) continue;
    try { records.push(JSON.parse(localStorage.getItem(name))); } catch { /* the other copy counts */ }
  }
  const people = new Map();
  for (const one of records) {
    if (!one || !/^[0-9a-f]{12}$/.test(one.participant)) continue;
    if (!people.has(one.participant)) people.set(one.participant, { started: null, answers: new Map() });
    const person = people.get(one.participant);
    if (one.image === "") { person.started = one.answered; continue; }
    const older = person.answers.get(one.image);
    if (images.has(one.image) && !(older && older.answered > one.answered)) person.answers.set(one.image, one);
  }
  return people;
}
