"use strict";
// Numbers that keep themselves up to date; nothing moves while somebody is at the controls.

const EVERY = 15000;

async function refresh() {
  if (document.hidden) return;
  let page;
  try {
    const reply = await fetch("/owner");
    if (!reply.ok) return;
    page = new DOMParser().parseFromString(await reply.text(), "text/html");
  } catch {
    return; // the server is away; the next round will see
  }
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.querySelector(`[data-live="${part.dataset.live}"]`);
    if (fresh && !part.contains(document.activeElement) && !part.matches(":hover")) part.replaceWith(fresh);
  }
}

document.querySelector("[data-address]")?.select();
setInterval(refresh, EVERY);
