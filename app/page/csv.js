// Tables as CSV files (RFC 4180), which spreadsheets open.

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
