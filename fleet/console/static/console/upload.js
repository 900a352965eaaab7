// Upload with a progress bar. After an error the chosen files stay selected. Without this script the form is a plain HTML form.
const form = document.querySelector("form[data-upload]");
const part = (name) => form.querySelector(`[data-upload-${name}]`);
let running = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return;
  refuse("");
  const request = (running = new XMLHttpRequest());
  request.upload.addEventListener("progress", (at) => show(at.loaded, at.total));
  request.upload.addEventListener("load", () => words("Upload complete. The server is verifying the bundle…"));
  request.addEventListener("load", () => finish(request));
  request.addEventListener("error", () => refuse("The connection was interrupted and the server stored nothing. The files are still selected: upload them again."));
  request.addEventListener("abort", () => refuse("Upload canceled. The server stored nothing."));
  request.open("POST", form.action || location.href);
  request.setRequestHeader("Accept", "application/json");
  request.send(whole());
  part("progress").hidden = false;
  part("send").disabled = true;
  words("Starting upload…");
});

// A chosen folder replaces both file fields: it supplies bundle.json, and every other file with its path in the folder.
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
    said = { detail: `The server returned status ${request.status} and stored nothing.` };
  }
  if (request.status === 201 && said.address) location.assign(said.address);
  else refuse(said.detail || `The server returned status ${request.status} and stored nothing.`);
}

function refuse(text) {
  running = null;
  part("progress").hidden = true;
  part("send").disabled = false;
  part("bar").value = 0;
  part("refusal").textContent = text;
  part("refusal").hidden = !text;
}
