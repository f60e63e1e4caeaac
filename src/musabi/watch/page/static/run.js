// One run's page: another run, the log with its pause.
import { onPart } from "./live.js";

const runs = document.getElementById("other-run");
const here = new URLSearchParams(location.search);
if (!here.get("id")) {
  // Everything on the page is this run's, also when a newer one begins meanwhile.
  here.set("id", runs.dataset.run);
  location.replace(`run?${here}`);
}
runs.addEventListener("change", () => location.assign(runs.value));

// A run that goes on, or begins anew, is a run of its own: the newest one.
document.addEventListener("acted", (event) => {
  const { verb, answer } = event.detail;
  if (answer && ["train-resume", "train-again"].includes(verb)) location.assign("run");
});

const shown = document.getElementById("log-shown");
const pause = document.getElementById("pause");

function showLog(live) {
  if (pause.getAttribute("aria-pressed") === "true") return;
  const before = shown.querySelector(".log");
  const atEnd = !before || before.scrollTop + before.clientHeight >= before.scrollHeight - 30;
  const at = before ? before.scrollTop : 0;
  const focused = before && before === document.activeElement;
  shown.replaceChildren(...[...live.childNodes].map((one) => one.cloneNode(true)));
  const log = shown.querySelector(".log");
  if (!log) return;
  log.scrollTop = atEnd ? log.scrollHeight : at;
  if (focused) log.focus({ preventScroll: true });
}
const live = document.querySelector('[data-part="log"]');
onPart("log", showLog);
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", paused);
  pause.textContent = paused ? "Go on" : "Pause";
  showLog(live);
});
showLog(live);
