// Upload with progress, and a refusal that keeps what was chosen. Without this script the same form works as a plain one.
const form = document.querySelector("form[data-upload]");
const part = (name) => form.querySelector(`[data-upload-${name}]`);
let running = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return;
  refuse("");
  const request = (running = new XMLHttpRequest());
  request.upload.addEventListener("progress", (at) => show(at.loaded, at.total));
  request.upload.addEventListener("load", () => words("All bytes are there; the server verifies them…"));
  request.addEventListener("load", () => finish(request));
  request.addEventListener("error", () => refuse("The connection broke off and nothing was kept. The files are still chosen: upload them again."));
  request.addEventListener("abort", () => refuse("Cancelled; nothing was kept."));
  request.open("POST", form.action || location.href);
  request.setRequestHeader("Accept", "application/json");
  request.send(whole());
  part("progress").hidden = false;
  part("send").disabled = true;
  words("The upload begins…");
});

// A chosen folder stands for both fields: its bundle.json, and each other file under its path in the folder.
part("folder").addEventListener("change", () => {
  for (const field of form.querySelectorAll("input[required]")) field.disabled = part("folder").files.length > 0;
});

function whole() {
  const data = new FormData(form);
  for (const file of part("folder").files) {
    const path = file.webkitRelativePath.split("/").slice(1).join("/");
    data.append(path === "bundle.json" ? "manifest" : "files", file, path);
  }
  return data;
}

part("cancel").addEventListener("click", () => running && running.abort());

function show(loaded, total) {
  part("bar").value = total ? loaded / total : 0;
  words(`${megabytes(loaded)} of ${megabytes(total)} MB`);
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function words(text) {
  part("words").textContent = text;
}

function finish(request) {
  let said = {};
  try {
    said = JSON.parse(request.responseText);
  } catch {
    said = { detail: `The server answered ${request.status}; nothing was kept.` };
  }
  if (request.status === 201 && said.address) location.assign(said.address);
  else refuse(said.detail || `The server answered ${request.status}; nothing was kept.`);
}

function refuse(text) {
  running = null;
  part("progress").hidden = true;
  part("send").disabled = false;
  part("bar").value = 0;
  part("refusal").textContent = text;
  part("refusal").hidden = !text;
}
