// Counts an announced stop down, by the pod's clock and not by the browser's.
const ahead = Number(document.getElementById("clock").dataset.now) * 1000 - Date.now();

function words(seconds) {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (hours) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  return minutes ? `${minutes} min ${String(rest).padStart(2, "0")} s` : `${rest} s`;
}

function tick() {
  for (const one of document.querySelectorAll("[data-until]")) {
    const left = Math.round((Number(one.dataset.until) * 1000 - Date.now() - ahead) / 1000);
    one.textContent = left > 0 ? `in ${words(left)}` : "now";
  }
}

tick();
setInterval(tick, 1000);
