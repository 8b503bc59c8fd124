// Tables of answers: the confusion matrix of labelled photos, and CSV files (RFC 4180), which spreadsheets open.

import { make, span } from "./dom.js";

/** `pairs` lists [label, answer]. `labels` come first, in their order, and then what else occurs. */
export function countPairs(pairs, labels) {
  const inOrder = (found) => [...labels.filter((each) => found.has(each)), ...[...found].filter((each) => !labels.includes(each))];
  const rows = inOrder(new Set(pairs.map(([label]) => label)));
  const columns = [...labels, ...inOrder(new Set(pairs.map(([, answer]) => answer))).filter((each) => !labels.includes(each))];
  const counts = rows.map((row) => columns.map((column) => pairs.filter(([label, answer]) => label === row && answer === column).length));
  return { rows, columns, counts };
}

/** A table of the counts: a row for each true class, a column for each answer. */
export function confusionTable({ rows, columns, counts }) {
  const heading = (text, scope) => make("th", { scope, textContent: text, title: text });
  const table = make("table", { className: "confusion" });
  table.append(make("caption", {}, span("", "Rows: the folder a photo was in. Columns: the answer.")));
  table.append(make("thead", {}, make("tr", {}, make("td"), ...columns.map((column) => heading(column, "col")))));
  const body = make("tbody");
  rows.forEach((row, i) => {
    const total = counts[i].reduce((sum, count) => sum + count, 0);
    const cells = counts[i].map((count, j) => {
      const cell = make("td", { textContent: count || "" });
      if (count) cell.className = row === columns[j] ? "right" : "wrong";
      cell.style.setProperty("--share", count / total);
      return cell;
    });
    body.append(make("tr", {}, heading(row, "row"), ...cells));
  });
  table.append(body);
  return table;
}

/** `rows` are lists of texts, numbers and null. */
export function toCsv(rows) {
  const text = rows.map((row) => row.map(field).join(",")).join("\r\n");
  return new Blob(["\ufeff", text, "\r\n"], { type: "text/csv;charset=utf-8" }); // the mark tells Excel that it is UTF-8
}

function field(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  // A spreadsheet would run a text that begins so as a formula; file names come from anywhere.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
