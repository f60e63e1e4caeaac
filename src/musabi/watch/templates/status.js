"use strict";
// Asks for status.json every two seconds and replaces the parts that changed. The server escaped them.
const fresh = document.getElementById("fresh");

function fit() {
  try {
    // In a notebook's output: the height of what is shown, and JupyterLab's light or dark.
    const theme = parent.document.body.dataset.jpThemeLight;
    if (parent !== window && theme) document.body.dataset.jpThemeLight = theme;
    if (frameElement && document.body.classList.contains("bare"))
      frameElement.height = document.body.scrollHeight + 2;
  } catch {
    // Another site's frame: nothing to fit to.
  }
}

async function refresh() {
  try {
    const answer = await fetch(`status.json${location.search}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const status = await answer.json();
    for (const part of document.querySelectorAll("[data-part]")) {
      const html = status.html[part.dataset.part];
      if (part.dataset.seen !== html) {
        part.innerHTML = html;
        part.dataset.seen = html;
      }
    }
    fresh.textContent = `As of ${status.clock}.`;
    fresh.className = "soft";
  } catch {
    fresh.textContent = "The pod does not answer. This is how it stood before.";
    fresh.className = "notice warn";
  }
  fit();
  setTimeout(refresh, document.hidden ? 10000 : 2000);
}

refresh();
