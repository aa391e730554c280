// Reviewing without page loads: keys, the heartbeat of the lease, undo, and what was typed survives
// every refusal. Without this file the same forms work by plain requests.
"use strict";
(() => {
  const main = document.querySelector("main");
  const status = document.getElementById("status");
  const find = (query) => main.querySelector(query);
  const TYPING = "input:not([type=checkbox]), textarea, select, [contenteditable]";
  let busy = false;
  let shownMs = 0; // time that the text was visible
  let visibleSince = document.hidden ? null : performance.now();
  let heartbeat = 0;
  let undoTimer = 0;

  const say = (text) => { status.textContent = text; };

  // --- keys -------------------------------------------------------------------------------------

  // The character of a key; where an input method or a layout gives none, that of its position.
  const keyOf = (event) => {
    if (event.key === "Process" || !/^[\x20-\x7e]$|^[A-Z]\w+$/.test(event.key)) {
      const position = /^(?:Key|Digit)([A-Z0-9])$/.exec(event.code);
      return position ? position[1].toLowerCase() : "";
    }
    return event.key.length === 1 ? event.key.toLowerCase() : event.key;
  };

  const isForPage = (event) =>
    !(event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) &&
    !event.getModifierState("AltGraph") &&
    !document.querySelector("dialog[open]");

  const wantsKey = (element, key) =>
    (key === "Enter" || key === " ") && element.closest("a, button, summary, input, label");

  document.addEventListener("keydown", (event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    if (target.closest(TYPING)) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (document.body.dataset.keys === "off" || !isForPage(event)) return;
    const key = keyOf(event);
    if (!key || wantsKey(target, key)) return;
    const control = find(`[data-key="${CSS.escape(key)}"]`);
    if (!control || control.disabled || control.offsetParent === null) return;
    event.preventDefault();
    control.click();
  });

  main.addEventListener("click", (event) => {
    const control = event.target.closest("[data-show], [data-open], [data-wants-note], [data-note] > summary");
    if (!control) return;
    if ("show" in control.dataset) {
      const isShown = find(".text").classList.toggle("shown");
      control.setAttribute("aria-pressed", String(isShown));
    } else if ("open" in control.dataset) {
      document.getElementById(control.dataset.open).showModal();
    } else if ("wantsNote" in control.dataset) {
      // The first press opens the note, the second one sends it: an escalation needs a reason.
      const note = find("#note");
      if (!note.value.trim()) {
        event.preventDefault();
        find("[data-note]").open = true;
        note.dataset.sends = "escalate";
        note.focus();
      }
    } else if (!control.parentElement.open) {
      setTimeout(() => find("#note").focus(), 0);
    }
  });

  main.addEventListener("keydown", (event) => {
    if (event.target.id !== "note" || event.key !== "Enter" || event.isComposing) return;
    if (event.target.dataset.sends && !event.shiftKey && event.target.value.trim()) {
      event.preventDefault();
      find("[data-wants-note]").click();
    }
  });

  // --- sending ----------------------------------------------------------------------------------

  const problem = (text) => {
    let place = find("#problem");
    if (!place) {
      place = document.createElement("div");
      place.id = "problem";
      place.className = "notice bad";
      place.setAttribute("role", "alert");
      main.querySelector("h1").after(place);
    }
    place.textContent = text;
    place.scrollIntoView({ block: "nearest" });
  };

  const swap = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const next = page.querySelector("main");
    main.replaceChildren(...next.childNodes);
    for (const id of ["counters"]) {
      const old = document.getElementById(id);
      const fresh = page.getElementById(id);
      if (old && fresh) old.replaceWith(fresh);
    }
    document.title = page.title;
    begin();
    window.scrollTo(0, 0);
    find("[data-focus]")?.focus({ preventScroll: true });
    const saved = find("[data-undo] span")?.textContent ?? "";
    const form = find("[data-item]");
    say(form ? `${saved} ${form.dataset.next}` : `${saved} ${find(".calm")?.textContent ?? ""}`);
  };

  const send = async (form, submitter) => {
    const item = find("[data-item]");
    const field = form.querySelector("[name=shown_ms]");
    if (field) field.value = String(Math.round(visibleMs()));
    const body = new URLSearchParams(new FormData(form, submitter));
    busy = true;
    main.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.getAttribute("action"), { method: "POST", body, headers: { "X-Part": "main" } });
      const html = await answer.text();
      if (answer.ok && !new URL(answer.url).pathname.startsWith("/sign-in")) swap(html);
      else problem(refusal(html) || item?.dataset.offline || "");
    } catch {
      problem(item?.dataset.offline ?? "");
    } finally {
      busy = false;
      main.removeAttribute("aria-busy");
    }
  };

  const refusal = (html) =>
    new DOMParser().parseFromString(html, "text/html").querySelector("#problem, main p")?.textContent.trim();

  main.addEventListener("submit", (event) => {
    if (event.defaultPrevented || !event.target.matches("[data-swap]")) return;
    event.preventDefault();
    if (!busy) send(event.target, event.submitter);
  });

  // --- settings of the view: at once, without losing a note ----------------------------------------

  document.querySelector('form[action="/view"]')?.addEventListener("submit", (event) => {
    const { name, value } = event.submitter ?? {};
    if (!["blur", "grey", "keys", "theme"].includes(name)) return;
    event.preventDefault();
    const root = document.documentElement;
    if (name === "theme") root.dataset.theme = value;
    else if (name === "keys") document.body.dataset.keys = value ? "on" : "off";
    else root.classList.toggle(name, Boolean(value));
    for (const button of event.target.querySelectorAll(`[name=${name}]`)) {
      const isOn = name === "theme" ? button === event.submitter : Boolean(value);
      button.setAttribute("aria-pressed", String(isOn));
    }
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    if (name !== "theme") event.submitter.value = value ? "" : "1";
    fetch("/view", { method: "POST", body, redirect: "manual" }).catch(() => {});
  });

  // --- time: how long the text was seen, the lease, undo ------------------------------------------

  const visibleMs = () => shownMs + (visibleSince === null ? 0 : performance.now() - visibleSince);

  const renew = async () => {
    const form = find("[data-item]");
    if (!form || document.hidden || busy) return;
    const body = new URLSearchParams({ lease: form.elements.lease.value });
    try {
      const answer = await fetch("/lease", { method: "POST", body, redirect: "manual" });
      if (answer.status === 409 && form.isConnected) problem(form.dataset.stale);
    } catch {
      // the next one may get through; a decision says so if it does not
    }
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      shownMs = visibleMs();
      visibleSince = null;
    } else {
      visibleSince = performance.now();
      renew();
    }
  });

  const begin = () => {
    shownMs = 0;
    if (visibleSince !== null) visibleSince = performance.now();
    clearInterval(heartbeat);
    clearInterval(undoTimer);
    const form = find("[data-item]");
    if (form) heartbeat = setInterval(renew, Number(form.dataset.renewS) * 1000);
    const undo = find("[data-undo]");
    if (!undo) return;
    const bar = undo.querySelector("progress");
    const end = performance.now() + Number(undo.dataset.seconds) * 1000;
    undoTimer = setInterval(() => {
      bar.value = Math.max(0, (end - performance.now()) / 1000);
      if (bar.value > 0) return;
      clearInterval(undoTimer);
      if (undo.contains(document.activeElement)) find("[data-focus]")?.focus();
      undo.remove();
    }, 250);
  };

  begin();
})();
