// Code that asks a task from outside the page, one function for each language.
// `server` is a URL that ends with a slash; `withKey` adds the API key from the environment.

export function curl(server, task, reject, withKey) {
  const key = withKey ? '-H "Authorization: Bearer $LEO_API_KEY" ' : "";
  return `curl ${key}-F images=@drawing.png "${server}tasks/${task}/predict?reject=${reject}"`;
}

export function python(server, task, reject, withKey) {
  const key = withKey ? '\n    headers={"Authorization": f"Bearer {os.environ[\'LEO_API_KEY\']}"},' : "";
  return `${withKey ? "import os\n\n" : ""}import httpx  # pip install httpx

answer = httpx.post(
    "${server}tasks/${task}/predict",
    params={"reject": ${reject}},
    files=[("images", open("drawing.png", "rb"))],${key}
)
answer.raise_for_status()
for prediction in answer.json()["predictions"]:
    print("none of these" if prediction["unknown"] else prediction["label"], prediction["confidence"])`;
}
