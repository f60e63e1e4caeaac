// Two samples under a divider: drag it, or move it with the slider below.
const curtain = document.getElementById("curtain");
const share = document.getElementById("share");

for (const list of document.querySelectorAll("select[data-go]")) {
  list.addEventListener("change", () => {
    sessionStorage.setItem("compare-focus", list.dataset.go);
    location.replace(list.value);
  });
}
const focused = sessionStorage.getItem("compare-focus");
sessionStorage.removeItem("compare-focus");
if (focused) document.querySelector(`select[data-go="${CSS.escape(focused)}"]`)?.focus();

if (curtain) {
  const left = document.getElementById("left");
  const right = document.getElementById("right");
  const beside = document.getElementById("beside");

  const show = () => {
    const part = Number(share.value);
    curtain.style.setProperty("--share", `${part}%`);
    share.setAttribute("aria-valuetext", `${part} % ${share.dataset.left}, ${100 - part} % ${share.dataset.right}`);
  };
  const moveTo = (event) => {
    const box = curtain.getBoundingClientRect();
    share.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    show();
  };
  share.addEventListener("input", show);
  curtain.addEventListener("pointerdown", (event) => {
    if (event.button || curtain.classList.contains("beside")) return;
    event.preventDefault();
    share.focus({ preventScroll: true });
    curtain.setPointerCapture(event.pointerId);
    moveTo(event);
  });
  curtain.addEventListener("pointermove", (event) => {
    if (curtain.hasPointerCapture(event.pointerId)) moveTo(event);
  });
  beside.addEventListener("click", () => {
    const on = curtain.classList.toggle("beside");
    beside.setAttribute("aria-pressed", on);
    share.disabled = on;
  });
  // The curtain is as wide as the picture in it, so that the divider ends where that ends.
  const section = curtain.parentElement;
  const measure = () => {
    const [width, height] = [left.naturalWidth || left.videoWidth, left.naturalHeight || left.videoHeight];
    if (width && height) section.style.setProperty("--ratio", width / height);
  };
  left.addEventListener("load", measure);
  left.addEventListener("loadedmetadata", measure);
  measure();
  // The two videos show the same moment of theirs.
  const videos = [left, right].filter((one) => one.tagName === "VIDEO");
  const start = () => videos.forEach((one) => { one.currentTime = 0; one.play().catch(() => {}); });
  document.getElementById("together")?.addEventListener("click", start);
  if (videos.length === 2) {
    videos[0].addEventListener("timeupdate", () => {
      if (Math.abs(videos[0].currentTime - videos[1].currentTime) > 0.15) videos[1].currentTime = videos[0].currentTime;
    });
  }
  show();
}
