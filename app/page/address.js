// The open classifier in the page's address: #task=ID, or #draft=ID before it has a task.

/** {task} or {draft} as the address names it, or {}. */
export function fromAddress() {
  const [, kind, id] = /^#(task|draft)=([\w-]{1,64})$/.exec(location.hash) ?? [];
  return kind ? { [kind]: id } : {};
}

const address = (hash) => `${location.pathname}${location.search}${hash}`;

/** The same classifier has got a task, or another one. */
export function showTaskInAddress(id) {
  if (location.hash !== `#task=${id}`) history.replaceState(null, "", address(`#task=${id}`));
}

/** Another classifier was opened: going back leads to the one before. */
export function showInAddress({ id, task }, replace = false) {
  const hash = task ? `#task=${task.task_id}` : `#draft=${id}`;
  if (location.hash === hash) return;
  if (replace) history.replaceState(null, "", address(hash));
  else history.pushState(null, "", address(hash));
}

export const linkTo = (taskId) => new URL(address(`#task=${taskId}`), location.href).href;
