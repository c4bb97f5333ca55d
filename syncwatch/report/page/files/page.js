// Loads this page again every ten seconds and puts its new content in place; nothing else.
"use strict";
(() => {
  const EVERY = 10000, PATIENCE = 8000;
  const time = () => document.getElementById("as-of-time");
  const trouble = document.getElementById("as-of-trouble");
  if (!time() || !trouble) return;
  let asking = false;

  const say = (words) => {
    if (trouble.textContent !== words) trouble.textContent = words;
    document.body.classList.toggle("old", words !== "");
  };

  // Whoever types, chooses, marks a text or walks through it by keyboard is not disturbed.
  const isTyped = (field) => field.type === "checkbox" ? field.checked !== field.defaultChecked
    : field.tagName === "SELECT" ? [...field.options].some((one, i) => one.selected
      !== (one.defaultSelected || (i === 0 && ![...field.options].some((o) => o.defaultSelected))))
    : field.value !== field.defaultValue;
  const isBusy = (main) => {
    const at = document.activeElement;
    const marked = getSelection();
    return Boolean(at && at !== main && main.contains(at) && at.matches("input, select, :focus-visible"))
      || (marked && !marked.isCollapsed && main.contains(marked.anchorNode))
      || [...main.querySelectorAll("input, select")].some(isTyped);
  };

  const put = (fresh) => {
    const old = document.querySelector("main");
    for (const one of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector(`details[id="${CSS.escape(one.id)}"]`);
      if (same) same.open = true;
    }
    const scrolled = [...old.querySelectorAll(".scroller[id]")].map((one) => [one.id, one.scrollLeft]);
    const [x, y] = [scrollX, scrollY];
    const focused = document.activeElement === old;
    old.replaceWith(fresh);
    for (const [id, left] of scrolled) {
      const same = document.getElementById(id);
      if (same) same.scrollLeft = left;
    }
    if (focused) fresh.focus({ preventScroll: true });
    scrollTo(x, y);
  };

  const refresh = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (answer.status === 401) return location.reload();
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = fresh.querySelector("main"), at = fresh.getElementById("as-of-time");
      if (!answer.ok && answer.status !== 404) {
        return say(`syncwatch answers ${answer.status}: what is shown is old.`);
      }
      say("");
      const kept = isBusy(document.querySelector("main"));
      document.body.classList.toggle("kept", kept);
      if (!main || !at || kept) return;
      put(document.adoptNode(main));
      time().replaceWith(document.adoptNode(at));
      document.title = fresh.title;
    } catch {
      say("syncwatch does not answer: what is shown is old.");
    } finally {
      asking = false;
    }
  };

  setInterval(refresh, EVERY);
  document.addEventListener("visibilitychange", refresh);
})();
