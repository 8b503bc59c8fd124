// Records kept in this browser: in IndexedDB, or in memory only where that cannot be used.

import { FOLDER } from "./dom.js";

// Each record has an `id`. Those of `classes` and `examples` have the id of their `classifier` too.
const STORES = ["classifiers", "classes", "examples"];
const PATIENCE = 4000; // milliseconds to open the database, which another tab may block

let opened; // the promise of the database, or of null where there is none
let trouble = () => {};
const memory = Object.fromEntries(STORES.map((store) => [store, new Map()]));

/** `tell(text)` is called when something cannot be kept. */
export function openDatabase(tell) {
  trouble = tell;
  opened = Promise.race([connect(), new Promise((_, fail) => setTimeout(fail, PATIENCE))]).catch(() => {
    trouble("This browser keeps nothing for this page. What you make here is gone at the next reload.");
    return null;
  });
  return opened;
}

async function connect() {
  const request = indexedDB.open(`leo${FOLDER}`, 1);
  request.onupgradeneeded = () => {
    for (const store of STORES) {
      const made = request.result.createObjectStore(store, { keyPath: "id" });
      if (store !== "classifiers") made.createIndex("classifier", "classifier");
    }
  };
  const database = await settled(request);
  database.onversionchange = () => database.close(); // so that a newer page can open it
  return database;
}

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** One record, or undefined. */
export async function read(store, id) {
  const database = await opened;
  if (!database) return memory[store].get(id);
  return settled(database.transaction(store).objectStore(store).get(id));
}

/** All records of a store; with `classifier` only those that belong to it. */
export async function readAll(store, classifier) {
  const database = await opened;
  if (!database) return [...memory[store].values()].filter((each) => !classifier || each.classifier === classifier);
  const all = database.transaction(store).objectStore(store);
  return settled(classifier ? all.index("classifier").getAll(classifier) : all.getAll());
}

/** Write and delete records, all or none: lists of [store, record] and of [store, id]. Whether it was kept. */
export async function write(puts, deletes = []) {
  const database = await opened;
  if (!database) {
    for (const [store, record] of puts) memory[store].set(record.id, record);
    for (const [store, id] of deletes) memory[store].delete(id);
    return true;
  }
  try {
    const transaction = database.transaction(STORES, "readwrite");
    for (const [store, record] of puts) transaction.objectStore(store).put(record);
    for (const [store, id] of deletes) transaction.objectStore(store).delete(id);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
      transaction.commit?.(); // now: the page may be about to close
    });
    return true;
  } catch (error) {
    trouble(
      error?.name === "QuotaExceededError"
        ? "The browser's storage is full. What you add now is gone at the next reload; delete old classifiers to make room."
        : "The browser could not keep the last change. It is gone at the next reload.",
    );
    return false;
  }
}
