// Numbers of the leading page: the server sends those that changed; nothing else moves.
"use strict";
(() => {
  const page = document.querySelector("[data-live]");
  const state = document.getElementById("live");
  const source = new EventSource(page.dataset.live);
  let known = document.querySelectorAll("td[id]").length;

  source.addEventListener("message", (event) => {
    const cells = JSON.parse(event.data);
    if (cells.problem) {
      state.textContent = page.dataset.lost;
      return;
    }
    state.textContent = page.dataset.back;
    let found = 0;
    for (const [id, text] of Object.entries(cells)) {
      const cell = document.getElementById(id);
      if (cell?.matches("td")) found += 1;
      if (!cell || cell.textContent === text) continue;
      cell.textContent = text;
      cell.classList.remove("fresh");
      void cell.offsetWidth; // starts the animation again
      cell.classList.add("fresh");
    }
    // a new queue has no row yet
    const rows = Object.keys(cells).filter((id) => !id.startsWith("total.")).length;
    if (rows !== found && rows !== known) {
      known = rows;
      window.location.reload();
    }
  });
  source.addEventListener("error", () => { state.textContent = page.dataset.lost; });
})();
