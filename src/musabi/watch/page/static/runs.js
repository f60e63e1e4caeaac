// Choosing runs in the list: their losses are laid over one another in the charts above.
import { onPart } from "./live.js";
import { dashes, svg } from "./plot.js";

const charts = document.querySelector("[data-charts]");
const lists = [...document.querySelectorAll(".runs")];
const most = Number(document.querySelector("[data-most]").dataset.most);
const words = document.getElementById("chosen-words");
let chosen = charts ? JSON.parse(charts.dataset.runs) : [];

function show() {
  for (const box of lists.flatMap((list) => [...list.querySelectorAll('input[type="checkbox"]')])) {
    const at = chosen.indexOf(box.value);
    box.checked = at >= 0;
    box.disabled = at < 0 && chosen.length >= most;
    const key = box.parentElement.querySelector("svg");
    key.replaceChildren();
    if (at >= 0) key.append(svg("g", { class: `curve strong c${at + 1}` }, svg("path", { d: "M1 5H25", "stroke-dasharray": dashes(at) })));
  }
  if (!charts) return;
  charts.hidden = !chosen.length; // no curve of a run that is not chosen any more
  words.textContent = chosen.length >= most ? `${most} runs are chosen, as many as there are colours.` : "Choose runs to lay their losses over one another.";
}

for (const list of lists) {
  list.addEventListener("change", (event) => {
    if (event.target.type !== "checkbox") return;
    chosen = event.target.checked ? [...chosen, event.target.value] : chosen.filter((one) => one !== event.target.value);
    const address = new URL(location.href);
    address.searchParams.set("chosen", chosen.join(","));
    history.replaceState(null, "", address);
    charts.dispatchEvent(new CustomEvent("choose", { detail: chosen }));
    show();
  });
}
onPart("going", show);
onPart("list", show);
show();
