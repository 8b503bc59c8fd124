// The open classifier in the page's address: #task=ID, or #draft=ID before it has a task.

/** {task} or {draft} as the address names it, or {}. */
export function fromAddress() {
  const [, kind, id] = /^#(task|draft)=([\w-]{1,64})$/.exec(location.hash) ?? [];
  return kind ? { [kind]: id } : {};
}

const address = (hash) => `${location.pathname}${location.search}${hash}`;

// The address of what is open. While someone goes back or forward the browser's is another already, and not to be
// replaced by what still happens to the former classifier.
let settled = location.hash;

/** What the address names is open now. */
export const settleAddress = () => (settled = location.hash);

/** What the address names cannot be opened, or is no classifier: name again what is open. */
export function restoreAddress() {
  history.replaceState(null, "", address(settled));
}

function replace(hash) {
  if (location.hash !== settled) return;
  history.replaceState(null, "", address(hash));
  settleAddress();
}

/** The same classifier has got a task, or another one. */
export function showTaskInAddress(id) {
  if (location.hash !== `#task=${id}`) replace(`#task=${id}`);
}

/** Another classifier was opened: going back leads to the one before. */
export function showInAddress({ id, task }, isSame = false) {
  const hash = task ? `#task=${task.task_id}` : `#draft=${id}`;
  if (location.hash === hash) return;
  if (isSame) return replace(hash);
  history.pushState(null, "", address(hash));
  settleAddress();
}

export const linkTo = (taskId) => new URL(address(`#task=${taskId}`), location.href).href;
