// The buttons of the bin, the duplicates and the check.
import { say, send } from "./act.js";
import "./dataset_upload.js";

async function change(button, path, values) {
  button.disabled = true;
  try {
    const answer = await send(path, values);
    say(answer.message);
    document.dispatchEvent(new CustomEvent("dataset-changed"));
  } catch (problem) {
    say(problem.message, "bad");
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { bin, restore, emptyBin, checkAgain } = button.dataset;
  if (bin !== undefined) change(button, "bin", { files: [bin] });
  else if (restore !== undefined) change(button, "bin-restore", { ids: [restore] });
  else if (checkAgain !== undefined) change(button, "check-again", {});
  else if (emptyBin !== undefined) {
    const what = emptyBin === "1" ? "The image in the bin is" : `The ${emptyBin} images in the bin are`;
    if (confirm(`${what} removed for good, with the captions. Go on?`)) change(button, "bin-empty", {});
  }
});
